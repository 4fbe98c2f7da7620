"""`symbolon gateway` beside nginx and HAProxy: throughput, latency and CPU for each request.

The proxies are private ones, of one thread each, before the same upstreams.

  small   responses of 200 bytes, from one upstream
  large   responses of 1 MiB
  upload  requests of 1 MiB
  slow    responses of 200 bytes from four upstreams, three of which take 2 ms and one 20 ms: first nginx and HAProxy
          pick by connections and symbolon by peak_ewma, then all three in turns (round robin)

The proxies share the first core, and one is under load at a time, in turns; upstreams and load are on the other cores.
Where those are busy before the proxy's core is, throughput says nothing of the proxy, but its CPU time for each request
does.

Promised: no request fails. What depends on the machine's speed is only reported.
"""

import os
import statistics

from bench.lib.binary import build_generator
from bench.lib.cpu import CORES
from bench.lib.errors import MeasurementError
from bench.lib.processes import install, raise_descriptor_limit
from bench.lib.results import Outcome
from bench.scenarios.gateway.cases import Case
from bench.scenarios.gateway.proxies import ALGORITHMS, COMMANDS, OTHERS, versions

# From this share on a core has no more to give.
SATURATED = 0.95
SIZES = {"small": "responses of 200 bytes", "large": "responses of 1 MiB", "upload": "requests of 1 MiB"}
KINDS = [*SIZES, "slow"]


def add_options(parser):
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=KINDS,
        help=f"some of {', '.join(KINDS)}, separated by commas [default: all]",
    )
    parser.add_argument(
        "--connections",
        type=lambda text: [int(count) for count in text.split(",")],
        default=[64, 256],
        help="except for slow [default: 64,256]",
    )
    parser.add_argument("--rounds", type=int, default=5, help="[default: %(default)s]")
    parser.add_argument("--seconds", type=float, default=5, help="length of each measurement [default: %(default)s]")


def check_options(parser, options):
    if unknown := set(options.only) - set(KINDS):
        parser.error(f"unknown kind: {', '.join(unknown)}")


def run(options):
    if len(CORES) < 2:
        raise MeasurementError("this needs two cores")
    # Some users don't have the directory of nginx and HAProxy in their search path.
    os.environ["PATH"] += ":/usr/sbin"
    install({"nginx": "nginx", "haproxy": "haproxy"})
    options.generator = build_generator("proxied")
    # Hundreds of connections on either side.
    raise_descriptor_limit()
    os.sched_setaffinity(0, CORES[1:])
    outcome = Outcome(notes=["; ".join(versions(options.binary))])
    outcome.notes.append(f"Proxies on core {CORES[0]}; upstreams and load on {', '.join(map(str, CORES[1:]))}")
    for case in cases(options):
        rounds = case.measure(options, outcome.broken)
        outcome.add(case.title, [column(case, name, rounds) for name in COMMANDS])
        outcome.rounds[case.title] = [
            {"": name, "round": number, **figures[name]}
            for number, figures in enumerate(rounds, 1)
            for name in COMMANDS
        ]
    return outcome


def cases(options):
    found = []
    for kind, title in SIZES.items():
        if kind in options.only:
            found += [Case(f"{title}, {count} connections", f"/{kind}", count) for count in options.connections]
    if "slow" in options.only:
        for choice in ALGORITHMS:
            title = f"one of four nodes ten times slower, picked {choice}, 64 connections"
            found.append(Case(title, "/small", 64, (2, 2, 2, 20), choice))
    return found


def bottleneck(own_core, other_cores):
    if own_core >= SATURATED:
        return "the proxy"
    return "others: VOID" if other_cores >= SATURATED else "none"


def ratio_to_best(rounds, name, figure, best):
    """The ratio to the better of the others in the same round: the median, the minimum and the maximum."""
    if name in OTHERS:
        return "-"
    ratios = [figures[name][figure] / best(figures[other][figure] for other in OTHERS) for figures in rounds]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def column(case, name, rounds):
    def median(figure):
        return statistics.median(figures[name][figure] for figures in rounds)

    found = {
        "": name,
        "requests /s": f"{median('rate'):.0f}",
        "p50, ms": f"{median('p50'):.2f}",
        "p99, ms": f"{median('p99'):.2f}",
        "p99.9, ms": f"{median('p99.9'):.2f}",
        "CPU time of a request, µs": f"{median('cpu'):.1f}",
        "memory, MiB": f"{median('memory'):.0f}",
        "its core, % busy": f"{median('own core') * 100:.0f}",
        "upstreams' and load's core, % busy": f"{median('other cores') * 100:.0f}",
        "bottleneck": bottleneck(median("own core"), median("other cores")),
        "taken by other processes, % of a core": f"{median('disturbance') * 100:.0f}",
    }
    if len(case.delays) > 1:
        found["algorithm"] = case.algorithms[name]
        found["the slow node's share, %"] = f"{median('slow share') * 100:.1f}"
    return found | {
        "requests /s, ratio to the better other (target 1)": ratio_to_best(rounds, name, "rate", max),
        "p99, ratio to the better other": ratio_to_best(rounds, name, "p99", min),
        "CPU time, ratio to the better other": ratio_to_best(rounds, name, "cpu", min),
    }
