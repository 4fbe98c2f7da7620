"""Instances behind `symbolon gateway --spawn 3` end: what clients notice, on embedded storage.

  kill     SIGKILL to one instance: failed requests, time until nothing is sent to it, time until another one serves
  term     SIGTERM to one instance after the other
  roll     SIGHUP to the gateway, which replaces all instances
  count    the number of instances is changed up and down
  orphans  SIGKILL to the gateway: time until no instance is left

During each fault clients read (GET /v1/session) and change (PATCH /v1/users/me/preferences) without pause, one user
each. A change names the version that it replaces, so a change that the gateway sends twice is answered with 412.

Promised: only requests under way at a `kill` fail, and none of them is a read; a dead instance is left alone within 1 s
and replaced within 3 s; no acknowledged change is lost, and none is made twice.
"""

import contextlib
import http.client
import json
import os
import signal
import statistics
import threading
import time

from bench.lib.client import Client
from bench.lib.instance import CHEAP_HASHES, NO_THROTTLE, OPERATOR_TOKEN, running
from bench.lib.processes import until
from bench.lib.results import Outcome

INSTANCES = 3
PREFERENCES = "/v1/users/me/preferences"
SUMMED = ("requests", "failed", "failed reads", "changes made more than once", "changes lost")
ORPHANS = "orphans"


class Clients:
    """Clients that send requests without pause, and their answers: (begun, ended, is a change, status)."""

    def __init__(self, port, tokens):
        self.port, self.tokens = port, tokens
        self.stop = threading.Event()
        self.answers_of = [[] for _ in tokens]
        # The number of each user's last change that was acknowledged, and that was sent.
        self.acknowledged, self.sent = [0] * len(tokens), [0] * len(tokens)
        self.threads = [threading.Thread(target=self.send, args=(number,)) for number in range(len(tokens))]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def send(self, number):
        client, token, count, version = None, self.tokens[number], 0, None
        while not self.stop.is_set():
            count += 1
            is_change = count % 4 == 0
            begun = time.monotonic()
            try:
                client = client or Client(self.port)
                if is_change:
                    version = version or preferences(client, token)[0]
                    begun, body = time.monotonic(), {"count": count}
                    status, headers, _ = client.raw("PATCH", PREFERENCES, body, token, if_match=version)
                    version = headers["etag"] if status == 200 else None
                else:
                    status = client.session_status(token)
            except (OSError, http.client.HTTPException):
                status, client, version = 0, None, None
            if is_change:
                self.sent[number] = count
                if status == 200:
                    self.acknowledged[number] = count
            self.answers_of[number].append((begun, time.monotonic(), is_change, status))

    def answers(self):
        return [answer for answers in self.answers_of for answer in answers]

    def lost(self):
        """How many users don't have their last acknowledged change, or a later one whose outcome is unknown."""
        client = Client(self.port)
        final = [preferences(client, token)[1].get("count", 0) for token in self.tokens]
        bounds = zip(self.acknowledged, final, self.sent)
        return sum(not acknowledged <= count <= sent for acknowledged, count, sent in bounds)


def gateway_status(client):
    return client.request("GET", "/v1/operator/gateway", token=OPERATOR_TOKEN)[1]


def all_healthy(client):
    nodes = gateway_status(client)["nodes"]
    return len(nodes) == INSTANCES and all(node["is_healthy"] and not node["draining"] for node in nodes)


def preferences(client, token):
    """The version of a user's preferences, and the document."""
    _, headers, text = client.raw("GET", PREFERENCES, token=token)
    return headers["etag"], json.loads(text)


def milliseconds_until(begun, what, condition):
    until(what, condition, pause=0.005)
    return (time.monotonic() - begun) * 1000


def kill(gateway, client, watched):
    victim = gateway_status(client)["spawned"][0]
    node = next(node for node in gateway_status(client)["nodes"] if node["id"] == victim["id"])
    begun = time.monotonic()
    os.kill(victim["pid"], signal.SIGKILL)

    def is_left_alone():
        nodes = [node for node in gateway_status(client)["nodes"] if node["id"] == victim["id"]]
        return all(node["ejected"] or not node["is_healthy"] for node in nodes)

    def is_replaced():
        spawned, nodes = gateway_status(client)["spawned"], gateway_status(client)["nodes"]
        new = [one["id"] for one in spawned if one["id"] != victim["id"]]
        serving = [node["id"] for node in nodes if node["is_healthy"] and node["requests"] > 0]
        return len(new) == INSTANCES and all(id in serving for id in new)

    watched["in flight on it"] = node["current_connections"]
    watched["nothing goes to it after, ms"] = milliseconds_until(
        begun, "the dead instance is left alone", is_left_alone
    )
    watched["another one serves after, ms"] = milliseconds_until(begun, "another instance serves", is_replaced)
    until("all instances are healthy", lambda: all_healthy(client))


def term(gateway, client, watched):
    for victim in gateway_status(client)["spawned"]:
        pid, begun = victim["pid"], time.monotonic()
        os.kill(pid, signal.SIGTERM)
        until(
            "the instance is replaced",
            lambda pid=pid: pid not in [one["pid"] for one in gateway_status(client)["spawned"]],
        )
        watched["replaced after, ms"] = milliseconds_until(
            begun, "all instances are healthy", lambda: all_healthy(client)
        )


def roll(gateway, client, watched):
    before = {one["pid"] for one in gateway_status(client)["spawned"]}
    begun = time.monotonic()
    gateway.process.send_signal(signal.SIGHUP)

    def are_replaced():
        pids = [one["pid"] for one in gateway_status(client)["spawned"]]
        return before.isdisjoint(pids) and all_healthy(client)

    watched["all replaced after, ms"] = milliseconds_until(begun, "all instances are replaced", are_replaced)


def count(gateway, client, watched):
    def runs(number):
        status = gateway_status(client)
        return len(status["nodes"]) == len(status["spawned"]) == number

    for wanted in [5, 2, INSTANCES]:
        client.request("PUT", "/v1/operator/gateway/instances", {"count": wanted}, OPERATOR_TOKEN)
        until(f"{wanted} instances run", lambda wanted=wanted: runs(wanted))
    until("all instances are healthy", lambda: all_healthy(client))


FAULTS = {fault.__name__: fault for fault in (kill, term, roll, count)}


def add_options(parser):
    names = [*FAULTS, ORPHANS]
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"any of {', '.join(names)} [default: all]")
    parser.add_argument("--rounds", type=int, default=5, help="[default: %(default)s]")
    parser.add_argument("--clients", type=int, default=16, help="[default: %(default)s]")


def check_options(parser, options):
    if unknown := set(options.faults) - {*FAULTS, ORPHANS}:
        parser.error(f"unknown fault: {', '.join(unknown)}")


def run(options):
    wanted, outcome = options.faults or [*FAULTS, ORPHANS], Outcome()
    for name, fault in FAULTS.items():
        if name not in wanted:
            continue
        row, rounds = measure(fault, options, outcome.broken, min_instances=2 if fault is count else INSTANCES)
        outcome.add(name, [row])
        outcome.rounds[name] = rounds
        for one in rounds:
            allowed = one["under way at the fault"] if fault is kill else 0
            if one["failed"] > allowed or one["failed reads"]:
                outcome.broken.append(f"{name}: {one['failed']} requests failed, {one['failed reads']} of them reads")
            if one.get("nothing goes to it after, ms", 0) > 1000 or one.get("another one serves after, ms", 0) > 3000:
                outcome.broken.append(f"{name}: a dead instance was left alone or replaced too late: {one}")
    if ORPHANS in wanted:
        outcome.add(ORPHANS, [orphans(options)])
    return outcome


def measure(fault, options, broken, min_instances):
    """The table's row, and the figures of every round."""
    with spawned(options, min_instances) as gateway:
        client = Client(gateway.port)
        tokens = []
        for number in range(options.clients):
            client.register(f"user-{number}")
            tokens.append(client.token(f"user-{number}"))
        rounds = [one_round(fault, gateway, tokens, broken) for _ in range(options.rounds)]
    row = {"rounds": len(rounds)}
    for name in rounds[0]:
        values = [one[name] for one in rounds]
        row[name] = sum(values) if name in SUMMED else f"{statistics.median(values):.0f} (at most {max(values):.0f})"
    return row, rounds


def one_round(fault, gateway, tokens, broken):
    client, watched = Client(gateway.port), {}
    until("all instances are healthy", lambda: all_healthy(client))
    with Clients(gateway.port, tokens) as clients:
        time.sleep(1)
        begun = time.monotonic()
        fault(gateway, client, watched)
        ended = time.monotonic()
        time.sleep(0.5)
    answers = clients.answers()
    failed = [answer for answer in answers if answer[3] != 200]
    under_way = [answer for answer in answers if answer[0] <= begun < answer[1]]
    repeated, lost = sum(answer[3] == 412 for answer in answers), clients.lost()
    if repeated or lost:
        broken.append(
            f"{fault.__name__}: {repeated} changes were made more than once, {lost} acknowledged ones were lost"
        )
    meanwhile = [answer[1] - answer[0] for answer in answers if begun <= answer[0] <= ended]
    row = {
        "requests": len(answers),
        "failed": len(failed),
        "failed reads": sum(not answer[2] for answer in failed),
        "under way at the fault": len(under_way),
        "changes made more than once": repeated,
        "changes lost": lost,
        "slowest answer, ms": max(meanwhile, default=0) * 1000,
    }
    return row | watched


@contextlib.contextmanager
def spawned(options, min_instances=INSTANCES):
    """A gateway with `INSTANCES` healthy instances, which may be between `min_instances` and 5."""
    arguments = ["gateway", "--spawn", f"{min_instances}..5"]
    with running(options.binary, CHEAP_HASHES | NO_THROTTLE, arguments=arguments) as (gateway,):
        client = Client(gateway.port)
        if min_instances < INSTANCES:
            client.request("PUT", "/v1/operator/gateway/instances", {"count": INSTANCES}, OPERATOR_TOKEN)
        until("all instances are healthy", lambda: all_healthy(client))
        yield gateway


def orphans(options):
    with spawned(options) as gateway:
        pids = [one["pid"] for one in gateway_status(Client(gateway.port))["spawned"]]
        begun = time.monotonic()
        gateway.process.kill()
        gateway.process.wait()
        took = milliseconds_until(begun, "all instances have ended", lambda: not any(map(is_running, pids)))
        return {"instances": len(pids), "none left after, ms": f"{took:.0f}"}


def is_running(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return ") Z " not in stat.read()
    return False
