"""Ending of sessions raced against logins and reads on three instances: counts sessions that survive.

In each round one instance changes a password, ends all sessions, or suspends or deletes a user, while three clients log
in with the former password on all instances and one reads with a session made before. After the 204:

  password, suspension, deletion  no session opens that a racing login made, on any instance
  ending all sessions             no session opens that was there before; the others open on all instances or on none
  always                          no read that was begun later is answered with 200

An answer other than 204, as on a machine too busy for Redis' 200 ms, promises nothing: such rounds are counted apart,
and the next one has another user. Sessions are in embedded storage, then in Redis; users are in three embedded shards.
A violation is a broken promise.
"""

import itertools
import queue
import random
import threading
import time

from bench.lib.client import PASSWORD, registration_body
from bench.lib.errors import MeasurementError
from bench.lib.instance import CHEAP_HASHES, NO_THROTTLE, OPERATOR_TOKEN, running
from bench.lib.results import Outcome

OTHER_PASSWORD = "staple battery horse"
SETTINGS = CHEAP_HASHES | NO_THROTTLE | {"SYMBOLON_SHARD_TIMEOUT": "10s", "SYMBOLON_SESSION_LIMIT": "100000"}
RACERS = 3
LOGINS = 2  # of each racer in a round
COUNTERS = [
    "rounds",
    "not acknowledged",
    "racing logins let in",
    "refused",
    "otherwise",
    "reads",
    "violations",
]


def retried(send, *wanted, answer=1):
    """Sends until the status is one of those wanted; returns the body, or the status."""
    for _ in range(100):
        reply = send()
        if reply[0] in wanted:
            return reply[answer]
        time.sleep(0.05)
    raise MeasurementError(f"status {reply[0]} instead of {wanted}")


def new_users(client, stem):
    """Names of new users, and their ids, without end."""
    for number in itertools.count():
        name = f"{stem}-{number}"
        status, user = client.request("POST", "/v1/users", registration_body(name))
        if status == 201:
            yield name, user["user_id"]


class Worker:
    """A thread with a connection, which does one thing at a time for a round."""

    def __init__(self, client):
        self.client, self.work, self.done = client, queue.SimpleQueue(), queue.SimpleQueue()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            self.done.put(self.work.get()(self.client))


def logins(name, password, delay):
    """Work that logs in after `delay` and returns statuses and tokens."""

    def work(client):
        time.sleep(delay)
        answers = [client.login(name, password) for _ in range(LOGINS)]
        return [(status, (body or {}).get("token")) for status, body in answers]

    return work


def reads(token, stop):
    """Work that reads a session until `stop` and once more; returns when each read was begun, and its status."""

    def work(client):
        answers = []
        while not stop.is_set():
            answers.append((time.monotonic(), client.session_status(token)))
        answers.append((time.monotonic(), client.session_status(token)))
        return answers

    return work


class Race:
    """One kind of race, and what its rounds showed."""

    def __init__(self, instances):
        self.clients = [instance.client() for instance in instances]
        self.racers = [Worker(instances[number % len(instances)].client()) for number in range(RACERS)]
        self.reader = Worker(instances[-1].client())
        self.generator = random.Random(1)
        self.counts = dict.fromkeys(COUNTERS, 0)
        self.details = []

    def add_violation(self, detail):
        self.counts["violations"] += 1
        self.details.append(detail)

    def round(self, name, password, act, ends_all=False):
        """Races `act`, which returns its status, against logins.

        Returns the tokens made before and those of racing logins, or `None` if the act was not acknowledged.
        """
        before = [
            retried(lambda client=client: client.login(name, password), 200)["token"] for client in self.clients[:2]
        ]
        over = threading.Event()
        self.reader.work.put(reads(before[1], over))
        for racer in self.racers:
            racer.work.put(logins(name, password, self.generator.random() * 0.006))
        time.sleep(self.generator.random() * 0.008)
        status = act(before[0])
        ended = time.monotonic()
        answers = [answer for racer in self.racers for answer in racer.done.get()]
        over.set()
        read = self.reader.done.get()
        if status != 204:
            self.counts["not acknowledged"] += 1
            return None
        made = [token for status, token in answers if status == 200]
        self.counts["rounds"] += 1
        self.counts["racing logins let in"] += len(made)
        self.counts["refused"] += sum(status == 401 for status, _ in answers)
        self.counts["otherwise"] += sum(status not in (200, 401) for status, _ in answers)
        self.counts["reads"] += len(read)
        if any(begun > ended and status == 200 for begun, status in read):
            self.add_violation(f"{name}: a read begun after the 204 was answered with 200")
        self.check(name, before[1], {401})
        for token in made:
            self.check(name, token, {401, 200} if ends_all else {401})
        return before, made

    def check(self, name, token, allowed):
        """Every instance must answer with the same status, and that must be allowed."""
        statuses = [
            retried(lambda client=client: (client.session_status(token), None), 200, 401, answer=0)
            for client in self.clients
        ]
        if len(set(statuses)) != 1 or statuses[0] not in allowed:
            self.add_violation(f"{name}: a session is answered with {statuses}")


def password_changes(race, rounds):
    first, names = race.clients[0], new_users(race.clients[0], "ada")
    (name, _), passwords = next(names), [PASSWORD, OTHER_PASSWORD]

    def act(token):
        body = {"current_password": passwords[0], "new_password": passwords[1]}
        return first.raw("PUT", "/v1/users/me/password", body, token=token)[0]

    while race.counts["rounds"] < rounds:
        tokens = race.round(name, passwords[0], act)
        if not tokens:
            (name, _), passwords[:] = next(names), [PASSWORD, OTHER_PASSWORD]
            continue
        race.check("the session that changed the password", tokens[0][0], {200})
        first.raw("DELETE", "/v1/sessions", token=tokens[0][0])
        passwords.reverse()


def endings(race, rounds):
    first, names = race.clients[0], new_users(race.clients[0], "eve")
    name, _ = next(names)

    def end_all(token):
        return first.raw("DELETE", "/v1/sessions", token=token)[0]

    while race.counts["rounds"] < rounds:
        tokens = race.round(name, PASSWORD, end_all, ends_all=True)
        if not tokens:
            name, _ = next(names)
            continue
        race.check("the session that ended all", tokens[0][0], {401})


def suspensions(race, rounds):
    first, names = race.clients[0], new_users(race.clients[0], "mallory")
    name, user_id = next(names)

    def set_suspended(is_suspended):
        path = f"/v1/operator/users/{user_id}/suspended"
        return first.request("PUT", path, {"suspended": is_suspended}, token=OPERATOR_TOKEN)

    while race.counts["rounds"] < rounds:
        tokens = race.round(name, PASSWORD, lambda _: set_suspended(True)[0])
        if not tokens:
            name, user_id = next(names)
            continue
        retried(lambda: set_suspended(False), 204)
        for token in tokens[0] + tokens[1]:
            race.check("no longer suspended", token, {401})


def deletions(race, rounds):
    first, names = race.clients[0], new_users(race.clients[0], "trent")

    def delete(token):
        return first.raw("DELETE", "/v1/users/me", token=token)[0]

    while race.counts["rounds"] < rounds:
        name, _ = next(names)
        tokens = race.round(name, PASSWORD, delete)
        if tokens:
            race.check("the session that deleted its user", tokens[0][0], {401})


KINDS = {
    "password change": password_changes,
    "end all sessions": endings,
    "suspension": suspensions,
    "deletion": deletions,
}


def add_options(parser):
    parser.add_argument(
        "--rounds", type=int, default=10_000, help="on each kind of storage, all races together [default: %(default)s]"
    )


def run(options):
    outcome = Outcome()
    for storage, redis in (("embedded", False), ("Redis", True)):
        rows = []
        for kind, race_all in KINDS.items():
            begun = time.monotonic()
            with running(options.binary, SETTINGS, instances=3, redis=redis) as instances:
                race = Race(instances)
                race_all(race, options.rounds // len(KINDS))
            rows.append({"race": kind, **race.counts, "seconds": round(time.monotonic() - begun)})
            outcome.broken += [f"{storage}, {kind}: {detail}" for detail in race.details]
        outcome.add(storage, rows)
    return outcome
