"""Requests end to end: batched reads beside unbatched ones, an earlier build, or other services.

Starts PostgreSQL with three shards and Redis, and on these two variants of the service: as it is, and without batches.
Imports users, gives sessions to them through the operator endpoint, and sends with wrk, for another user each time:

  session  GET /v1/session
  user     GET /v1/users/{user_id}
  mixed    90 % user, 8 % PATCH of preferences, 2 % logins (with cheap hashes, which would dominate otherwise)

All variants are measured alternately. A ratio is the median of the ratios of measurements right after one another.
Memory is the service's after each load. CPU is a request's, of the process and of all PostgreSQL and Redis servers of
the machine.

--before BINARY replaces the variant without batches by that build. The ratio of CPU time tells what a change costs; the
figures of every round are printed too. --instructions runs both builds in valgrind, slowly, and counts instructions
instead of CPU time (thousands for each request), which other work on the machine does not change.

--peers DIRECTORY adds other services on the same servers; bench/scenarios/reads/peers.py says what the directory holds.

--flamegraphs DIRECTORY draws where the service's CPU time goes, with perf and inferno, for each kind with the largest
number of connections. Stacks are complete in a build with RUSTFLAGS="-C force-frame-pointers=yes".

Figures depend on the machine; the ratios within one run mean something. Needs PostgreSQL, Redis and wrk.
"""

import statistics
from pathlib import Path

from bench.lib.processes import progress, require_programs
from bench.lib.results import Outcome
from bench.scenarios.reads.flamegraphs import draw_flamegraphs
from bench.scenarios.reads.targets import BEFORE, SYMBOLON, prepared, send

KINDS = ["session", "user", "mixed"]
# Names of the figures that `Target.measure` returns.
FIGURES = ["requests/s", "p50 ms", "p99 ms", "failed", "own cost", "stores' CPU, µs"]


def add_options(parser):
    parser.add_argument("--before", metavar="BINARY", help="another build to compare with")
    parser.add_argument(
        "--peers", type=Path, metavar="DIRECTORY", help="other services to compare with, on their servers"
    )
    parser.add_argument("--users", type=int, nargs="+", default=[10_000], help="number of users [default: 10000]")
    parser.add_argument("--rounds", type=int, default=5, help="[default: %(default)s]")
    parser.add_argument("--seconds", type=int, default=3, help="length of each measurement [default: %(default)s]")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64, 256], help="[default: 1 16 64 256]")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds of requests [default: all]")
    parser.add_argument("--instructions", action="store_true", help="count instructions instead of CPU time")
    parser.add_argument(
        "--growth",
        type=int,
        default=0,
        metavar="REQUESTS",
        help="also memory before and after this many reads of users",
    )
    parser.add_argument("--flamegraphs", type=Path, metavar="DIRECTORY", help="also draw where CPU time goes")


def run(options):
    require_programs("apt-get install wrk postgresql-client", "wrk", "psql")
    if options.instructions:
        require_programs("apt-get install valgrind", "valgrind", "callgrind_control")
    if options.flamegraphs:
        require_programs("apt-get install linux-perf; cargo install inferno", "perf", "inferno-collapse-perf")
    options.cost = "thousands of instructions" if options.instructions else "own CPU, µs"
    outcome = Outcome()
    for users in options.users:
        with prepared(options.binary, users, options) as (targets, script):
            measure(users, targets, script, options, outcome)
            symbolon = next(target for target in targets if target.name == SYMBOLON)
            if options.growth:
                outcome.add(f"{users} users: memory", [growth(symbolon, script, options)])
            if options.flamegraphs:
                draw_flamegraphs(symbolon, script, options)
    return outcome


def measure(users, targets, script, options, outcome):
    for kind in options.kinds:
        able = [target for target in targets if kind in target.files]
        for target in able:
            send(target.port, target.files[kind], script, 16, 1)
        for connections in options.connections:
            compare(
                f"{users} users: {kind}, {connections} connections", kind, connections, able, script, options, outcome
            )


def compare(title, kind, connections, targets, script, options, outcome):
    """Adds a table with a row for each target; ratios are those of Symbolon to the target, round by round."""
    taken = {target.name: [] for target in targets}
    for number in range(options.rounds):
        for target in targets if number % 2 == 0 else reversed(targets):
            taken[target.name].append(target.measure(kind, script, connections, options.seconds))
    rows = [row_of(target, taken[target.name], taken[SYMBOLON], options) for target in targets]
    outcome.add(title, rows)
    outcome.rounds[title] = [
        {"": name, "round": number, **dict(zip(FIGURES, result))}
        for name, results in taken.items()
        for number, result in enumerate(results, 1)
    ]
    for row in rows:
        progress(f"{title}: {row}")
    for target in targets:
        if failed := sum(result[3] for result in taken[target.name]):
            outcome.broken.append(f"{title}: {target.name}: {failed} requests failed")
        if target.name == BEFORE:
            pairs = zip(taken[SYMBOLON], taken[BEFORE])
            costs = ", ".join(f"{own[4]:.2f}/{before[4]:.2f}" for own, before in pairs)
            progress(f"{title}: {options.cost} of each round: {costs}")


def row_of(target, results, own_results, options):
    def median(figure):
        return statistics.median(result[figure] for result in results)

    def ratio(figure):
        return statistics.median(own[figure] / other[figure] for own, other in zip(own_results, results))

    return {
        "": target.name,
        "requests/s": round(median(0)),
        "p50 ms": f"{median(1):.2f}",
        "p99 ms": f"{median(2):.2f}",
        f"{SYMBOLON}: requests/s, ratio": f"{ratio(0):.2f}",
        f"{SYMBOLON}: p99, ratio": f"{ratio(2):.2f}",
        options.cost: f"{median(4):.1f}",
        f"{SYMBOLON}: cost, ratio": f"{ratio(4):.3f}",
        "stores' CPU, µs": f"{median(5):.1f}",
        "memory, MiB": f"{target.memory():.1f}" if target.memory else "-",
    }


def growth(target, script, options):
    """Memory in MiB before and after reads of users."""
    before, sent = target.memory(), 0
    while sent < options.growth:
        sent += send(target.port, target.files["user"], script, 64, 5)[0] * 5
    return {
        "": "user",
        "before, MiB": f"{before:.1f}",
        "requests": round(sent),
        "after, MiB": f"{target.memory():.1f}",
    }
