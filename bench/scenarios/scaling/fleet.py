"""Fleets that a gateway spawns, under load."""

import contextlib
import statistics
import threading
import time
from collections import Counter

from bench.lib.instance import running
from bench.lib.postgres import SHARDS, postgres_shards, shards_setting
from bench.lib.stats import quantile, rounded
from bench.scenarios.scaling.common import COMMON, STALLED_SHARD, UserReads, count_failed

SPAWN = ["gateway", "--spawn", "2..6"]


class FleetWatch(threading.Thread):
    """Reads once a second what the gateway says of scaling."""

    def __init__(self, gateway):
        super().__init__()
        self.gateway, self.samples, self.stopping, self.started_at = gateway, [], threading.Event(), time.monotonic()

    def run(self):
        while not self.stopping.wait(1):
            with contextlib.suppress(OSError):
                status, scaling = self.gateway.operator("scaling")
                if status == 200:
                    self.samples.append((time.monotonic(), scaling))

    def since(self, moment):
        return [scaling for at, scaling in self.samples if at >= moment]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join()


def settings_of(options):
    return COMMON | {"SYMBOLON_SCALING_CORES": str(options.cores), "SYMBOLON_SCALING_STARTUP": "5s"}


def decisions(gateway):
    """Rows of all decisions, oldest first."""
    return [
        {
            "at": decision["at"][11:19],
            "outcome": decision["outcome"],
            "from": decision["from"],
            "to": decision["to"],
            "demand": rounded(decision["numbers"].get("demand"), 2),
            "wanted": rounded(decision["numbers"].get("wanted"), 2),
            "why": " ".join(decision["reasons"]),
        }
        for decision in reversed(gateway.operator("scaling/decisions")[1]["decisions"])
    ]


def median_demand(samples):
    return rounded(statistics.median([one["demand"] or 0 for one in samples]), 2)


def max_desired(samples):
    return max((one["desired"] or 0 for one in samples), default="-")


def measure_spawn(options, outcome):
    rates = [200, options.rate // 2, options.rate, options.rate // 2, 200]
    with running(options.binary, settings_of(options), arguments=SPAWN) as (gateway,), FleetWatch(gateway) as watch:
        reads, rows = UserReads(options.generator, gateway), []
        for index, rate in enumerate(rates):
            begun = time.monotonic()
            # The fleet shrinks by one step a minute at most, so the last phase is longer.
            is_last = index == len(rates) - 1
            answers = reads.send(rate, 4 * options.seconds if is_last else options.seconds)
            samples = watch.since(begun + options.seconds / 2)
            failed = count_failed(answers)
            if failed:
                statuses = dict(Counter(answer.status for answer in answers if answer.status != 200))
                outcome.broken.append(
                    f"spawn: {failed} of {len(answers)} requests failed at {rate} a second: {statuses}"
                )
            rows.append(
                {
                    "rate": rate,
                    "requests": len(answers),
                    "failed": failed,
                    "p99, ms": round(quantile([answer.took for answer in answers], 0.99), 1),
                    "demand": median_demand(samples),
                    "desired": max_desired(samples),
                    "ready": samples[-1]["ready"] if samples else "-",
                }
            )
        outcome.add("spawn", rows, across=False)
        outcome.add("spawn: decisions", decisions(gateway), across=False)
        max_ready = max(row["ready"] for row in rows)
        if max_ready < 3 or rows[-1]["ready"] >= max_ready:
            outcome.broken.append("spawn: the fleet did not grow and shrink")


def measure_shard(options, outcome):
    with postgres_shards(SHARDS) as shards:
        settings = settings_of(options) | {"SYMBOLON_SHARDS": shards_setting(shards)}
        with (
            running(options.binary, settings, redis=True, arguments=SPAWN) as (gateway,),
            FleetWatch(gateway) as watch,
        ):
            reads, rows = UserReads(options.generator, gateway), []
            for phase in ("before", "hangs", "after"):
                if phase == "hangs":
                    shards[STALLED_SHARD].pause()
                begun = time.monotonic()
                answers = reads.send(options.rate // 4, options.seconds)
                if phase == "hangs":
                    shards[STALLED_SHARD].resume()
                samples = watch.since(begun + options.seconds / 2)
                served = len(answers) - count_failed(answers)
                rows.append(
                    {
                        "shard": phase,
                        "requests": len(answers),
                        "answered 200, %": round(100 * served / len(answers), 1),
                        "demand": median_demand(samples),
                        "desired": max_desired(samples),
                        "bottleneck": next((one["bottleneck"] for one in samples if one["bottleneck"]), "-"),
                    }
                )
            outcome.add("shard", rows, across=False)
            outcome.add("shard: decisions", decisions(gateway), across=False)
    if rows[1]["desired"] > rows[0]["desired"]:
        outcome.broken.append("shard: the fleet grew for a shard that hangs")
    if rows[1]["bottleneck"] != STALLED_SHARD:
        outcome.broken.append("shard: the bottleneck was not named")
