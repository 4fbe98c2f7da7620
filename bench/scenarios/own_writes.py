"""Reads after acknowledged writes on another instance: counts the ones that return an older value.

Users change their preferences at one instance and read them at another, all users at once, while both instances join
lookups into batches.

A stale read is a broken promise. Needs PostgreSQL and Redis.
"""

import subprocess
import tempfile
import time
from pathlib import Path

from bench.lib.binary import build_generator
from bench.lib.instance import CHEAP_HASHES, NO_THROTTLE, running
from bench.lib.postgres import SHARDS, postgres_shards, shards_setting
from bench.lib.results import Outcome


def add_options(parser):
    parser.add_argument("--reads", type=int, default=100_000, help="[default: %(default)s]")
    parser.add_argument("--users", type=int, default=64, help="[default: %(default)s]")


def run(options):
    generator = build_generator("storm")
    with postgres_shards(SHARDS) as shards:
        settings = CHEAP_HASHES | NO_THROTTLE | {"SYMBOLON_SHARDS": shards_setting(shards)}
        with running(options.binary, settings, instances=2, redis=True) as instances:
            row, stale = measure(options, generator, instances)
    outcome = Outcome(broken=[f"{stale} reads were stale"] if stale else [])
    outcome.add("reads after writes", [row])
    return outcome


def measure(options, generator, instances):
    """The row of the table, and the number of stale reads."""
    client, names = instances[0].client(), [f"user-{number}" for number in range(options.users)]
    for name in names:
        client.register(name)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "tokens")
        file.write_text("\n".join(client.token(name) for name in names))
        addresses = ",".join(f"127.0.0.1:{instance.port}" for instance in instances)
        begun = time.monotonic()
        command = [generator, "reads-own-writes", addresses, str(options.reads), str(file)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        seconds = time.monotonic() - begun
    reads, stale, unanswered = map(int, done.stdout.split())
    statistics = [instance.statistics() for instance in instances]
    row = {
        "reads": reads,
        "stale": stale,
        "answered with 503, as a store was too slow": unanswered,
        "changes and reads a second": round(2 * reads / seconds),
        "users in a batch, on average": mean_batch(
            [shard["users"] for one in statistics for shard in one["batching"].values()]
        ),
        "sessions in a batch, on average": mean_batch([one["session_batching"] for one in statistics]),
    }
    return row, stale


def mean_batch(counts):
    return f"{sum(one['keys'] for one in counts) / max(1, sum(one['batches'] for one in counts)):.2f}"
