"""The two measurements: three times the peak, and a shard that stalls."""

import time

from bench.lib.postgres import SHARDS
from bench.lib.stats import quantile
from bench.scenarios.overload.testbed import Answers

VICTIM = SHARDS[2]
LEAD, TAIL = 3, 13  # seconds of calm before and after
SETTLED_MS = 2000  # until a burst of logins, which may queue for up to a second, has been worked off
BUCKET_MS, GOOD_BUCKETS = 500, 4
STOPPED, PAUSED = "still", "paused for 200 ms"
STALLS = {
    STOPPED: (8.0, 0.0),
    "slow": (0.045, 0.005),
    PAUSED: (0.2, 1.8),
}  # seconds that it stands still, and runs, in turn
TURN = 8  # seconds that this goes on, after as many of calm
TURNS = {STOPPED: 1, "slow": 1, PAUSED: 5}


def measure_overload(testbed):
    """One round: the peak, and what becomes of three times as much."""
    options, kind = testbed.options, testbed.kind
    testbed.load(testbed.first_rate, 2)
    peak = testbed.peak()
    time.sleep(2)
    unloaded, busy = testbed.p99(0.1 * peak), testbed.p99(0.9 * peak)
    http = testbed.cost_of_http((options.factor - 1) * peak)
    before = testbed.kept(1.1 * peak)
    calm_load = testbed.start_load({kind: 0.5 * peak}, LEAD + options.seconds + TAIL)
    time.sleep(LEAD)
    storm_load = testbed.start_load({kind: (options.factor - 0.5) * peak}, options.seconds)
    calm = Answers(answers_since(calm_load, storm_load.started_at))
    storm = storm_load.answers()
    peak = (before + testbed.kept(1.1 * peak)) / 2
    http *= peak
    end = options.seconds * 1000
    everything = Answers(calm.rows + storm)
    during, settled = everything.begun_between(0, end), everything.begun_between(SETTLED_MS, end)
    offered = len(during.rows) / options.seconds / peak
    return {
        "peak": peak,
        "unloaded": unloaded,
        "busy": busy,
        "offered": offered,
        "goodput": everything.served_between(0, end) / options.seconds / peak,
        "best": max(0.0, (1 - offered * http) / (1 - http)),
        "p50": quantile(during.took(), 0.5),
        "p99": quantile(during.took(), 0.99),
        "settled": quantile(settled.took(), 0.99),
        "ratio": quantile(settled.took(), 0.99) / busy,
        "refused": during.share(lambda status: status == 503),
        "failed": during.share(lambda status: status not in (200, 503)),
        "refused p50": quantile(during.took(503), 0.5),
        "refused p99": quantile(during.took(503), 0.99),
        "back": seconds_to_normal(calm, end, 2 * busy),
    }


def answers_since(load, moment):
    """The answers of a load; their times are since `moment` instead of since its start."""
    offset = (load.started_at - moment) * 1000
    return [answer._replace(begun=answer.begun + offset) for answer in load.answers()]


def seconds_to_normal(calm, end, max_p99):
    """Seconds after the end until `GOOD_BUCKETS` buckets in a row are good; `None` if they never are."""
    good = 0
    for bucket in range(TAIL * 1000 // BUCKET_MS):
        since = end + bucket * BUCKET_MS
        own = calm.begun_between(since, since + BUCKET_MS)
        is_served = own.share(lambda status: status == 200) == 1
        good = good + 1 if is_served and quantile(own.took(), 0.99) <= max_p99 else 0
        if good == GOOD_BUCKETS:
            return (bucket + 1 - GOOD_BUCKETS) * BUCKET_MS / 1000
    return None


def measure_shard(testbed, server, how, peak):
    """One round: half of the peak while, in turns, a shard's server runs and stalls."""
    turns, since = TURNS[how], time.monotonic()
    load = testbed.start_load({name: 0.5 * peak / len(SHARDS) for name in SHARDS}, (2 * turns + 1) * TURN)
    (still, runs), stalled_at = STALLS[how], []
    before = testbed.admission()
    for _ in range(turns):
        time.sleep(TURN)
        begun = time.monotonic()
        while time.monotonic() < begun + TURN - 0.01:
            server.pause()
            time.sleep(still)
            server.resume()
            time.sleep(runs)
        stalled_at.append((begun - since) * 1000)
    after = testbed.admission()
    answers = answers_since(load, since)
    others = Answers([answer for answer in answers if answer.kind != VICTIM])

    def turns_of(answers, offset):
        """The answers begun in a turn of each stall, from so many milliseconds after its start."""
        starts = [begun + offset for begun in stalled_at]
        return Answers([row for start in starts for row in answers.begun_between(start, start + TURN * 1000).rows])

    own = Answers([answer for answer in answers if answer.kind == VICTIM])
    calm, meanwhile, own = turns_of(others, -TURN * 1000), turns_of(others, 0), turns_of(own, 0)
    return {
        "asked": len(meanwhile.rows),
        "not served": sum(row.status != 200 for row in meanwhile.rows),
        "before": quantile(calm.took(), 0.99),
        "meanwhile": quantile(meanwhile.took(), 0.99),
        "times": quantile(meanwhile.took(), 0.99) / quantile(calm.took(), 0.99),
        "own": own.share(lambda status: status == 200),
        "shed": after["shed"] - before["shed"],
        "limit": after["limit"],
    }
