"""The instance that decides is killed."""

import statistics
import time

from bench.lib.instance import running
from bench.lib.processes import kill, until
from bench.scenarios.scaling.common import COMMON

MAX_SECONDS = 5
WATCHED_SECONDS = 12


def measure_decider(options, outcome):
    settings = COMMON | {"SYMBOLON_SCALING_POLICY": "threshold", "SYMBOLON_SCALING_RULES": "always=utilization>-1"}
    took, kept = [], 0
    for _ in range(options.rounds):
        with running(options.binary, settings, instances=3) as instances:
            decision, seconds = kill_decider(instances, outcome)
        if not decision:
            outcome.broken.append("decider: no other instance decided")
            continue
        took.append(seconds)
        kept += decision["outcome"] == "cooldown"
    if kept < options.rounds:
        outcome.broken.append(f"decider: the cooldown was kept in {kept} of {options.rounds} rounds")
    slowest = max(took, default=float("inf"))
    if slowest > MAX_SECONDS:
        outcome.broken.append(f"decider: another instance decided after {slowest:.1f} s")
    row = {
        "rounds": options.rounds,
        "another decides after, s": f"{statistics.median(took):.2f} (at most {slowest:.2f})" if took else "never",
        "cooldown kept": kept,
    }
    outcome.add("decider", [row], across=False)
    outcome.rounds["decider"] = [{"another decides after, s": seconds} for seconds in took]


def kill_decider(instances, outcome):
    """The first decision of another instance, and the seconds until it; or nothing if there is none."""
    for instance in instances:
        instance.name = instance.operator("balancer")[1]["answered_by"]
    until("an action was decided", lambda: has_acted(instances[0]))
    last = instances[0].operator("scaling")[1]["last"]
    victim = next(one for one in instances if one.name == last["by"])
    survivor = next(one for one in instances if one is not victim)
    kill(victim.process)
    killed, first, seconds = time.monotonic(), None, None
    while time.monotonic() - killed < WATCHED_SECONDS:
        now = survivor.operator("scaling")[1]["last"]
        if now["by"] != victim.name and not first:
            first, seconds = now, time.monotonic() - killed
        elif now["by"] != victim.name and now["by"] != first["by"]:
            outcome.broken.append("decider: two decided at once")
        time.sleep(0.05)
    return first, seconds


def has_acted(instance):
    decisions = instance.operator("scaling/decisions")[1]["decisions"]
    return any(one["outcome"] == "custom_rule_triggered" for one in decisions)
