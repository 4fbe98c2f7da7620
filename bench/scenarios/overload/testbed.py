"""One instance on a core, its users, and load on it from another core."""

import contextlib
import itertools
import json
import os
import tempfile
import time

from bench.lib.cpu import cpu_of_matching
from bench.lib.instance import CHEAP_HASHES, NO_THROTTLE, OPERATOR_TOKEN, running
from bench.lib.load import Load, json_head, login_request, request_text, write_requests
from bench.lib.postgres import SHARDS, shards_setting
from bench.lib.stats import quantile

USERS = 100  # of each shard
SESSIONS = {"sessions": 50}  # of each user, where not one
FIRST_RATE = {"login": 10.0, "mixed": 200.0}  # where the search for the peak begins, if not at 500 a second
MIX = ["login", *4 * ["change"], *45 * ["me"]]
HASHING = ("login", "mixed")
SEARCH_SECONDS = 3

CHANGE_BODY = json.dumps({"theme": "dark"})
# The request's line, headers and body.
KINDS = {
    "me": ("GET /v1/users/me", "", ""),
    "session": ("GET /v1/session", "", ""),
    "sessions": ("GET /v1/sessions", "", ""),
    "change": ("PATCH /v1/users/me/preferences", json_head(CHANGE_BODY), CHANGE_BODY),
    "live": ("GET /v1/health/live", "", ""),
}


def request_of(kind, name, token):
    """A request as it goes over the wire."""
    if kind == "login":
        return login_request(name)
    line, head, body = KINDS[kind]
    return request_text(line, f"{head}Authorization: Bearer {token}\r\n", body)


class Answers:
    """What became of requests."""

    def __init__(self, rows):
        self.rows = rows

    def begun_between(self, since, end):
        return Answers([row for row in self.rows if since <= row.begun < end])

    def took(self, status=200):
        return [row.took for row in self.rows if row.status == status]

    def served_between(self, since, end):
        return sum(row.status == 200 and since <= row.ended < end for row in self.rows)

    def share(self, holds):
        return sum(holds(row.status) for row in self.rows) / max(1, len(self.rows))


class Testbed:
    """One instance, and load on it."""

    def __init__(self, instance, directory, users, kind, options):
        self.instance, self.directory, self.kind, self.options = instance, directory, kind, options
        self.first_rate = options.start or FIRST_RATE.get(kind, 500.0)
        everyone = [user for some in zip(*users.values()) for user in some]
        for load in (kind, "live"):
            self.write(load, load, everyone)
        for shard in SHARDS:
            self.write(shard, kind, users[shard])

    def write(self, load, kind, users):
        kinds = itertools.cycle(MIX if kind == "mixed" else [kind])
        texts = [request_of(own, name, token) for own, (name, token) in zip(kinds, users)]
        write_requests(f"{self.directory}/{load}", texts)

    def start_load(self, rates, seconds):
        """Load under way; rates are by the name of its file."""
        kinds = {name: (rate, f"{self.directory}/{name}") for name, rate in rates.items()}
        return Load(self.options.generator, self.instance.port, seconds, self.options.patience, kinds)

    def load(self, rate, seconds, name=None):
        return Answers(self.start_load({name or self.kind: rate}, seconds).answers())

    def peak(self):
        """The maximum of answers a second, by rising rates until two of them are not kept up with."""
        rate, peak, missed = self.first_rate, 0.0, 0
        is_mixed = self.kind == "mixed"
        while missed < 2:
            kept = self.kept(rate)
            is_missed = kept < (0.99 if is_mixed else 0.9) * rate
            peak = peak if is_mixed and is_missed else max(peak, kept)
            missed += is_missed
            rate *= 1.2
        return peak

    def kept(self, rate):
        """Answers a second at a rate."""
        return self.load(rate, SEARCH_SECONDS).served_between(0, SEARCH_SECONDS * 1000) / SEARCH_SECONDS

    def p99(self, rate):
        return quantile(self.load(rate, 5).took(), 0.99)

    def cost_of_http(self, rate):
        """CPU seconds of the instance for a request that needs no store."""
        before = self.cpu()
        answers = self.load(rate, 3, "live")
        return (self.cpu() - before) / len(answers.rows)

    def cpu(self):
        return cpu_of_matching(lambda pid, *_: pid == self.instance.process.pid)

    def admission(self):
        """Admission's figures of requests. The endpoint reads the stores too, which may be too busy at first."""
        while True:
            status, body = self.instance.client().request("GET", "/v1/operator/stats", token=OPERATOR_TOKEN)
            if status == 200:
                return body["admission"]["requests"]
            time.sleep(0.05)


@contextlib.contextmanager
def prepared(shards, names, kind, admission, options):
    """A testbed with a new instance; `names` keeps the users of each shard from one to the next."""
    settings = ({} if kind in HASHING else CHEAP_HASHES) | NO_THROTTLE
    settings |= {"SYMBOLON_ADMISSION": admission, "SYMBOLON_SHARDS": shards_setting(shards)}
    if options.least:
        settings["SYMBOLON_ADMISSION_MIN"] = str(options.least)
    os.sched_setaffinity(0, {options.cores[0]})
    with running(options.binary, settings, redis=True) as (instance,), tempfile.TemporaryDirectory() as directory:
        register_users(instance.client(), names)
        # Load that is started from now on is on the other core.
        os.sched_setaffinity(0, {options.cores[1]})
        if options.bottleneck == "stores":
            for thread in os.listdir(f"/proc/{instance.process.pid}/task"):
                os.sched_setaffinity(int(thread), {options.cores[1]})
        client = instance.client()
        for _ in range(SESSIONS.get(kind, 1)):
            users = {shard: [(name, client.token(name)) for name in names[shard]] for shard in SHARDS}
        yield Testbed(instance, directory, users, kind, options)


def register_users(client, names):
    """Registers `USERS` users on each shard, unless `names` has them."""
    number = sum(map(len, names.values()))
    while any(len(names[shard]) < USERS for shard in SHARDS):
        number += 1
        name = f"user-{number}"
        own = names[client.register(name)["partition"]["node_id"]]
        if len(own) < USERS:
            own.append(name)
