"""Users of a fleet, and load by them."""

import tempfile
from pathlib import Path

from bench.lib.instance import CHEAP_HASHES, NO_THROTTLE
from bench.lib.load import Load, read_request, write_requests

COMMON = CHEAP_HASHES | NO_THROTTLE | {"SYMBOLON_DRAIN_DELAY": "1s"}
USERS = 60
PATIENCE = 5  # seconds until a client gives up
STALLED_SHARD = "db-node-1"


class UserReads:
    """Reads of users, each in turn, at a rate that does not depend on the answers."""

    def __init__(self, generator, instance):
        self.generator, self.port = generator, instance.port
        client, tokens = instance.client(), {}
        for number in range(USERS):
            name = f"user-{number}"
            shard = client.register(name)["partition"]["node_id"]
            tokens.setdefault(shard, []).append(client.token(name))
        self.requests = [read_request("/v1/users/me", token) for some in tokens.values() for token in some]

    def send(self, rate, seconds):
        """All answers."""
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "requests"
            write_requests(file, self.requests)
            return Load(self.generator, self.port, seconds, PATIENCE, {"me": (rate, file)}).answers()


def count_failed(answers):
    return sum(answer.status != 200 for answer in answers)
