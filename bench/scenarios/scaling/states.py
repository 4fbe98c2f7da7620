"""What an autoscaler reads in different states of an instance and its stores."""

import signal
import time

from bench.lib.instance import running
from bench.lib.postgres import SHARDS, postgres_shards, shards_setting
from bench.lib.processes import until
from bench.lib.redis import private_redis
from bench.scenarios.scaling.common import COMMON, STALLED_SHARD, UserReads


def demand(instance):
    """The answer of the demand endpoint: status and number, or status and reason."""
    try:
        status, body = instance.operator("demand")
    except OSError:
        return "no connection"
    return f"{status} {body.get('demand_replicas', body.get('detail'))}"


def measure_states(options, outcome):
    rows = []

    def note(state, may_be_number):
        answer = demand(instance)
        rows.append({"state": state, "answer": answer})
        if answer.startswith("200") and not may_be_number:
            outcome.broken.append(f"states: a number while {state}: {answer}")

    with postgres_shards(SHARDS) as shards, private_redis() as redis:
        settings = COMMON | {
            "SYMBOLON_SCALING_CORES": str(options.cores),
            "SYMBOLON_DRAIN_DELAY": "6s",
            "SYMBOLON_SHARDS": shards_setting(shards),
            "SYMBOLON_REDIS_URL": redis.url,
        }
        with running(options.binary, settings) as (instance,):
            note("it starts, no load", True)
            reads = UserReads(options.generator, instance)
            reads.send(10, 3)
            note("first requests, their cost not known", False)
            reads.send(options.rate // 4, 12)
            note("under load", True)
            shards[STALLED_SHARD].pause()
            reads.send(options.rate // 4, 8)
            note("under load, a shard hangs", True)
            shards[STALLED_SHARD].resume()
            redis.process.send_signal(signal.SIGSTOP)
            time.sleep(5)
            note("its registry hangs", False)
            redis.process.send_signal(signal.SIGCONT)
            until("demand is known again", lambda: demand(instance).startswith("200"))
            reads.send(options.rate // 4, 6)
            instance.process.terminate()
            time.sleep(2)
            note("under load before, it drains", True)
            instance.process.wait()
            note("it has ended", False)
    outcome.add("states", rows, across=False)
