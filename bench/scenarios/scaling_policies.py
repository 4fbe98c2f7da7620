"""Scaling policies on traces, at equal cost: demand beside threshold, Kubernetes' HPA and Knative's KPA.

Both files are traces for `symbolon simulate scaling`. For each start-up delay the HPA's tolerance and stabilisation and
the KPA's window and panic threshold are chosen on the first trace: of each the combination with the fewest violations,
as the mean of their logarithms over costs of 1.25 to 4 times the minimum. Demand and threshold have their defaults.
Then all run on the second trace. A row is a run of demand at one target; the other columns are the violation seconds
that the others would have for as many node-seconds, interpolated between two of their runs at targets 0.025 apart. A
row names the others that have fewer.
"""

import bisect
import itertools
import json
import math
import subprocess

from bench.lib.processes import progress
from bench.lib.results import Outcome

# No burst needs this many nodes, so no violation comes from the upper bound.
UNBOUNDED = "10000"
DELAYS = ("10s", "60s", "180s")
DEMAND_TARGETS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TARGETS = [step / 40 for step in range(4, 41)]
COSTS = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
CHOICES = {
    "hpa": {"--hpa-tolerance": ("0.05", "0.1"), "--hpa-stabilization": ("0s", "60s", "300s", "900s")},
    "kpa": {"--kpa-window": ("30s", "60s", "120s", "300s"), "--kpa-panic-threshold": ("1.5", "2")},
}
OTHERS = ("threshold", "hpa", "kpa")


def add_options(parser):
    parser.add_argument("tuning", metavar="TUNE", help="trace to tune the others on")
    parser.add_argument("test", metavar="TEST", help="trace to compare on")
    parser.add_argument("--delay", action="append", help="a start-up delay [default: 10s, 60s and 180s]")


def run(options):
    outcome, lost, compared = Outcome(), 0, 0
    for delay in options.delay or DELAYS:
        title, rows = compare(options.binary, options.tuning, options.test, delay)
        outcome.add(title, rows, across=False)
        progress(f"{title}: done")
        lost += sum(len(row["fewer"]) for row in rows)
        compared += sum(row[name] != "-" for row in rows for name in OTHERS)
        for row in rows:
            row["fewer"] = ", ".join(row["fewer"])
    outcome.notes.append(
        f"Of {compared} comparisons demand has fewer violation seconds, or as many, in {compared - lost}."
    )
    return outcome


def simulate(binary, trace, policy, delay, targets, options):
    """The runs of a policy, one a target."""
    command = [binary, "simulate", "scaling", "--json", "--trace", trace, "--policy", policy, "--startup-delay", delay]
    command += ["--max", UNBOUNDED]
    command += [f"--target={target}" for target in targets] + list(options)
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return [run for run in map(json.loads, lines) if run["kind"] == "run"]


def at_cost(runs, node_seconds):
    """The violation seconds of the runs at a cost, interpolated between two of them; `None` beyond them."""
    points = sorted((run["node_seconds"], run["violation_seconds"]) for run in runs)
    after = bisect.bisect_left(points, (node_seconds, -1))
    if after == 0 or after == len(points):
        return None
    (x0, y0), (x1, y1) = points[after - 1 : after + 1]
    return y1 if x0 == x1 else y0 + (y1 - y0) * (node_seconds - x0) / (x1 - x0)


def score(runs):
    """The mean of the logarithms of violations over the costs; all seconds count at a cost that no run reaches."""
    min_cost, seconds = runs[0]["least_node_seconds"], runs[0]["seconds"]
    violations = (at_cost(runs, cost * min_cost) for cost in COSTS)
    return sum(math.log(1 + (seconds if one is None else one)) for one in violations) / len(COSTS)


def tune(binary, trace, policy, delay):
    """The options with which a policy does best on a trace."""
    names, values = zip(*CHOICES[policy].items())
    combinations = [[f"{name}={value}" for name, value in zip(names, chosen)] for chosen in itertools.product(*values)]
    return min(combinations, key=lambda options: score(simulate(binary, trace, policy, delay, TARGETS, options)))


def compare(binary, tuning, test, delay):
    """The title and rows of a delay's table; `fewer` lists the policies with fewer violations."""
    options = {policy: tune(binary, tuning, policy, delay) for policy in CHOICES}
    title = f"start-up delay {delay}; " + "; ".join(
        f"{policy} {' '.join(chosen)}" for policy, chosen in options.items()
    )
    others = {policy: simulate(binary, test, policy, delay, TARGETS, options.get(policy, ())) for policy in OTHERS}
    rows = []
    for demand in simulate(binary, test, "demand", delay, DEMAND_TARGETS, ()):
        violations = {name: at_cost(runs, demand["node_seconds"]) for name, runs in others.items()}
        row = {
            "target": demand["target"],
            "node-seconds": demand["node_seconds"],
            "over the minimum": f"{demand['over_least']:.3f}",
            "demand": demand["violation_seconds"],
        }
        row |= {name: "-" if seconds is None else round(seconds) for name, seconds in violations.items()}
        row["fewer"] = [
            name
            for name, seconds in violations.items()
            if seconds is not None and seconds < demand["violation_seconds"]
        ]
        rows.append(row)
    return title, rows
