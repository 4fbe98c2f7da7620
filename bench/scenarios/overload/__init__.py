"""Three times the load that the service can bear, with admission and without; and a shard that stalls.

One core has the whole service (or, with --bottleneck stores, its stores): an instance, a private Redis and a private
PostgreSQL for each of three shards, with their files in memory, because other users of the machine's disk would be
measured too. The other core has the load, whose rate does not depend on the answers.

  overload  finds the maximum rate of answers (the peak) and the p99 at nine tenths of it, then offers half of the peak
            throughout, and three times the peak in all for a while. Goodput is what is answered with 200 in that time,
            as a ratio to the peak right before and after, as the speed of a shared machine varies from minute to
            minute. Clients give up after --patience seconds. The service is back to normal once all of the half is
            answered with 200 again and p99 is within twice that at nine tenths, in four half-seconds in a row.
  shard     offers half of the peak while one shard's server is stopped (SIGSTOP), runs for a tenth of the time, or is
            paused for 200 ms every two seconds (8 s of that and 8 s of calm in turn, five times): what the users of the
            other shards notice.

Logins are measured with the default hashes, also those that are 2 % of a mix of 90 % reads and 8 % changes, everything
else with cheap ones. The peak of the mix is the maximum that is served completely: beyond it logins are refused, and
reads go on.

Reading a request and writing a refusal cost CPU too, so an instance that refuses two of three requests can't reach its
peak: "at best" is what is left if a refusal costs what GET /v1/health/live does, which is HTTP alone.

Promised: 90 % of the peak; p99 within twice the one at nine tenths after two seconds; back to normal within 10 s;
nothing but 200 for users of other shards, and their p99 within 1.2 times while a shard is paused for 200 ms at a time.
"""

import math
import os
import statistics
import tempfile

from bench.lib.binary import build_generator
from bench.lib.postgres import SHARDS, postgres_shards
from bench.lib.processes import progress, raise_descriptor_limit
from bench.lib.results import Outcome
from bench.lib.stats import median_of
from bench.scenarios.overload.rounds import PAUSED, STALLS, VICTIM, measure_overload, measure_shard
from bench.scenarios.overload.testbed import KINDS, prepared

MIN_GOODPUT, MAX_P99_RATIO, MAX_RECOVERY, MAX_SHARD_RATIO = 0.9, 2, 10, 1.2
DEFAULT_KINDS = ["login", "mixed", "me", "sessions"]
OVERLOAD_FIGURES = {
    "peak, answers /s": ("peak", 0),
    "p99 unloaded, ms": ("unloaded", 1),
    "p99 at 0.9 of the peak, ms": ("busy", 1),
    "offered, of the peak": ("offered", 2),
    "goodput, of the peak (target 0.9)": ("goodput", 2),
    "at best, as refusing costs CPU too": ("best", 2),
    "served, p50 ms": ("p50", 1),
    "served, p99 ms": ("p99", 1),
    "p99 after the first two seconds, ms": ("settled", 1),
    "as a ratio to that at 0.9 (target 2)": ("ratio", 2),
    "refused": ("refused", 2),
    "failed otherwise, or given up": ("failed", 2),
    "refused, p50 ms": ("refused p50", 2),
    "refused, p99 ms": ("refused p99", 2),
    "back to normal after, s (target 10)": ("back", 1),
}
SHARD_FIGURES = {
    "requests of users of other shards": ("asked", 0),
    "not answered with 200": ("not served", 0),
    "their p99 before, ms": ("before", 1),
    "their p99 meanwhile, ms": ("meanwhile", 1),
    "as a ratio to that before (target 1.2)": ("times", 2),
    "its own users served": ("own", 2),
    "refused by admission, all told": ("shed", 0),
    "limit at the end": ("limit", 0),
}


def add_options(parser):
    parser.add_argument(
        "--kind",
        action="append",
        choices=[*KINDS, "login", "mixed"],
        help="GET /v1/users/me, GET /v1/session, GET /v1/sessions with 50 of them, PATCH /v1/users/me/preferences, "
        "GET /v1/health/live, POST /v1/login, or 45 reads and 4 changes with each login "
        "[default: login, mixed, me and sessions]",
    )
    parser.add_argument("--admission", choices=["on", "off"], help="measure only with or only without admission")
    parser.add_argument(
        "--bottleneck",
        choices=["everything", "stores"],
        default="everything",
        help="what has a core to itself: the service and its stores, or the stores, and then the service runs beside "
        "the load [default: %(default)s]",
    )
    parser.add_argument("--least", type=int, metavar="LIMIT", help="admission_min [default: the setting's own]")
    parser.add_argument("--only", choices=["overload", "shard"], help="measure this part only")
    parser.add_argument(
        "--stop", action="append", choices=list(STALLS), help="how the shard's server stalls [default: each in turn]"
    )
    parser.add_argument("--rounds", type=int, default=3, help="each with a new instance [default: %(default)s]")
    parser.add_argument("--seconds", type=int, default=10, help="length of the overload [default: %(default)s]")
    parser.add_argument(
        "--factor", type=float, default=3.0, help="offered load as a multiple of the peak [default: %(default)s]"
    )
    parser.add_argument(
        "--patience", type=float, default=2.0, help="seconds until a client gives up [default: %(default)s]"
    )
    parser.add_argument(
        "--start",
        type=float,
        help="rate at which the search for the peak begins [default: 500; for logins 10, for the mix 200]",
    )
    parser.add_argument(
        "--cores",
        type=lambda text: [int(core) for core in text.split(",")],
        default=[0, 1],
        help="cores of the service and of the load [default: 0,1]",
    )


def run(options):
    # Without admission there is a connection for every request that waits.
    raise_descriptor_limit()
    options.generator = build_generator("storm")
    modes = [options.admission] if options.admission else ["on", "off"]
    overloads = {(kind, mode): [] for kind in options.kind or DEFAULT_KINDS for mode in modes}
    stalls = {how: [] for how in options.stop or STALLS}
    os.sched_setaffinity(0, {options.cores[0]})
    tempfile.tempdir = "/dev/shm"
    with postgres_shards(SHARDS) as shards:
        names = {shard: [] for shard in SHARDS}
        for _ in range(options.rounds):
            for kind, mode in overloads if options.only != "shard" else ():
                with prepared(shards, names, kind, mode, options) as testbed:
                    overloads[kind, mode].append(measure_overload(testbed))
                progress(f"{kind}, admission {mode}: {overloads[kind, mode][-1]}")
            for how in stalls if options.only != "overload" else ():
                with prepared(shards, names, "me", "on", options) as testbed:
                    stalls[how].append(measure_shard(testbed, shards[VICTIM], how, testbed.peak()))
                progress(f"shard {how}: {stalls[how][-1]}")
    return report(overloads, stalls, options)


def report(overloads, stalls, options):
    outcome = Outcome()
    if options.only != "shard":
        rows = [
            {"requests": kind, "admission": mode} | figures(rounds, OVERLOAD_FIGURES)
            for (kind, mode), rounds in overloads.items()
        ]
        outcome.add("overload", rows)
        for (kind, mode), rounds in overloads.items():
            outcome.rounds[f"{kind}, admission {mode}"] = rounds
            if mode == "on":
                outcome.broken += broken_promises(kind, rounds)
    if options.only != "overload":
        rows = [{f"{VICTIM} is": how} | figures(rounds, SHARD_FIGURES) for how, rounds in stalls.items()]
        outcome.add("a shard", rows)
        outcome.rounds |= {f"{VICTIM} is {how}": rounds for how, rounds in stalls.items()}
        if lost := sum(row["not served"] for rounds in stalls.values() for row in rounds):
            outcome.broken.append(f"{lost} requests to other shards were not served")
        ratio = median_of(stalls[PAUSED], "times") if stalls.get(PAUSED) else 1.0
        if ratio > MAX_SHARD_RATIO:
            outcome.broken.append(f"p99 of other shards rose {ratio:.2f} times while a shard was {PAUSED} at a time")
    return outcome


def figures(rounds, lines):
    """Each figure's median and, in brackets, that of every round."""

    def cell(name, digits):
        values = [row[name] for row in rounds]
        shown = ["never" if value is None else f"{value:.{digits}f}" for value in values]
        known = [math.inf if value is None else value for value in values]
        return f"{statistics.median(known):.{digits}f} ({' '.join(shown)})"

    return {line: cell(name, digits) for line, (name, digits) in lines.items()}


def broken_promises(kind, rounds):
    goodput, ratio, back = (median_of(rounds, name) for name in ("goodput", "ratio", "back"))
    if goodput < MIN_GOODPUT:
        yield f"{kind}: goodput fell to {goodput:.2f} of the peak, {median_of(rounds, 'best'):.2f} being the best"
    if ratio > MAX_P99_RATIO:
        yield f"{kind}: p99 was {ratio:.1f} times the one at 0.9 of the peak after the first two seconds"
    if back > MAX_RECOVERY:
        yield f"{kind}: it was back to normal after {back} s"
