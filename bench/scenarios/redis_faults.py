"""Faults of Redis: what clients notice of kills, pauses, restarts and failovers.

Two instances on one data directory (embedded shards), with sessions in a private Redis: one server, a pair watched by a
Sentinel, a Cluster of three primaries with a replica each.

  revocations  log in on one instance, read on the other, log out on the first, read on the other again
  faults       Redis is killed, paused or restarted under load: answers, and the time from its return to service
  failovers    a primary is killed under load: the time to service, and logouts that were undone
"""

import contextlib
import itertools
import signal
import statistics
import threading
import time

from bench.lib.instance import CHEAP_HASHES, NO_THROTTLE
from bench.lib.instance import running as running_instances
from bench.lib.processes import require_programs, until
from bench.lib.redis import Cluster, Sentinel, Single, private_redis
from bench.lib.results import Outcome
from bench.lib.stats import milliseconds

THREADS = 4
FAULTS = ("killed", "paused", "restarted")


def add_options(parser):
    parser.add_argument(
        "--revocations", type=int, default=1000, help="number of logouts on each kind of Redis [default: %(default)s]"
    )
    parser.add_argument("--rounds", type=int, default=10, help="rounds of each fault [default: %(default)s]")
    parser.add_argument("--failovers", type=int, default=5, help="failovers of each kind [default: %(default)s]")


def run(options):
    require_programs("scripts/install-test-servers", "redis-server", "redis-cli")
    outcome = Outcome()
    kinds = (Single, Sentinel, Cluster)
    outcome.add("revocations", [revocations(kind, options.binary, options.revocations) for kind in kinds])
    outcome.add("faults", [faults(fault, options.binary, options.rounds, outcome) for fault in FAULTS])
    variants = [(kind, replicas) for kind in (Sentinel, Cluster) for replicas in (0, 1)]
    outcome.add("failovers", [failovers(*variant, options.binary, options.failovers, outcome) for variant in variants])
    return outcome


@contextlib.contextmanager
def running(kind, binary, replicas=0):
    """Redis servers, and two instances that use them and await this many replicas."""
    with private_redis(kind) as servers:
        settings = {"SYMBOLON_REDIS_URL": servers.url, "SYMBOLON_REDIS_WAIT_REPLICAS": str(replicas)}
        settings |= CHEAP_HASHES | NO_THROTTLE | {"SYMBOLON_LOG": "error"}
        with running_instances(binary, settings, instances=2) as instances:
            yield servers, instances


class SessionReads:
    """Threads that read sessions; `answers` is (begun, ended, status, has Retry-After, token) of each read."""

    def __init__(self, instances, tokens):
        self.answers, self.stopping = [], threading.Event()
        self.threads = []
        for number in range(THREADS):
            arguments = (instances[number % len(instances)], tokens[number % len(tokens)])
            self.threads.append(threading.Thread(daemon=True, target=self.read, args=arguments))
        for thread in self.threads:
            thread.start()

    def read(self, instance, token):
        client = instance.client()
        while not self.stopping.is_set():
            begun = time.monotonic()
            status, headers, _ = client.raw("GET", "/v1/session", token=token)
            self.answers.append((begun, time.monotonic(), status, headers["retry-after"] is not None, token))
            time.sleep(0.002)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        return self.answers


def log_in(client, name):
    """The token of a new session, if Redis allows one."""
    status, body = client.login(name)
    return body["token"] if status == 200 else None


def log_out(client, token):
    return client.raw("POST", "/v1/logout", token=token)[0]


def revocations(kind, binary, count):
    with running(kind, binary) as (_, instances):
        first, second = (instance.client() for instance in instances)
        names = [f"user-{number}" for number in range(20)]
        for name in names:
            first.register(name)
        accepted, times = 0, []
        for name in itertools.islice(itertools.cycle(names), count):
            token = log_in(first, name)
            assert second.session_status(token) == 200
            begun = time.monotonic()
            assert log_out(first, token) == 204
            status = second.session_status(token)
            times.append(time.monotonic() - begun)
            assert status in (200, 401), status
            accepted += status == 200
        return {
            "redis": kind.name,
            "revocations": count,
            "accepted after 204": accepted,
            "logout and refusal, median ms": milliseconds(statistics.median(times)),
            "slowest ms": milliseconds(max(times)),
        }


def inflict(redis, fault):
    if fault == "killed":
        redis.kill()
        time.sleep(1)
        redis.start(wait=False)
    elif fault == "paused":
        redis.process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        redis.process.send_signal(signal.SIGCONT)
    else:
        redis.restart()


def faults(fault, binary, rounds, outcome):
    rows = []
    with running(Single, binary) as (servers, instances):
        redis, client = servers.servers[0], instances[0].client()
        client.register("ada")
        tokens = [log_in(client, "ada") for _ in range(THREADS)]
        for _ in range(rounds):
            rows.append(fault_round(fault, redis, instances, tokens))
    outcome.rounds[f"Redis is {fault}"] = rows
    failed, refused = sum(row["failed"] for row in rows), sum(row["refused"] for row in rows)
    return {
        "redis is": fault,
        "rounds": rounds,
        "answers": sum(row["answers"] for row in rows),
        "slowest ms": milliseconds(max(row["slowest, s"] for row in rows)),
        "failed": failed,
        "of these 503 with Retry-After": f"{refused / failed:.1%}" if failed else "-",
        "return to first 200, median ms": milliseconds(statistics.median(row["back, s"] for row in rows)),
        "at most ms": milliseconds(max(row["back, s"] for row in rows)),
    }


def fault_round(fault, redis, instances, tokens):
    reads = SessionReads(instances, tokens)
    time.sleep(0.3)
    inflict(redis, fault)
    until("Redis answers", redis.is_ready, pause=0.001)
    returned = time.monotonic()

    def is_back():
        return any(ended > returned and status == 200 for _, ended, status, *_ in reads.answers)

    until("service is back", is_back)
    time.sleep(0.3)
    answers = reads.stop()
    failed = [(status, retry) for _, _, status, retry, _ in answers if status != 200]
    return {
        "answers": len(answers),
        "slowest, s": max(ended - begun for begun, ended, *_ in answers),
        "failed": len(failed),
        "refused": sum(answer == (503, True) for answer in failed),
        "back, s": min(ended for _, ended, status, *_ in answers if ended > returned and status == 200) - returned,
    }


def failovers(kind, replicas, binary, rounds, outcome):
    rows = [failover_round(kind, binary, replicas) for _ in range(rounds)]
    outcome.rounds[f"failover, {kind.name}, {replicas} replicas awaited"] = rows
    service, after = [row["service, s"] for row in rows], [row["after naming, s"] for row in rows]
    return {
        "redis": kind.name,
        "redis_wait_replicas": replicas,
        "rounds": rounds,
        "kill to service, median ms": milliseconds(statistics.median(service)),
        "kill to service, at most ms": milliseconds(max(service)),
        "new primary named to service, median ms": milliseconds(statistics.median(after)),
        "new primary named to service, at most ms": milliseconds(max(after)),
        "slowest answer ms": milliseconds(max(row["slowest, s"] for row in rows)),
        "affected users saw": total(rows, "affected"),
        "others saw": total(rows, "others") or "-",
        "each 503 with Retry-After": "yes" if all(row["retry"] for row in rows) else "no",
        "logouts acknowledged": sum(row["acknowledged"] for row in rows),
        "undone": sum(row["undone"] for row in rows),
    }


def total(rows, key):
    """How often each status was answered, in all rounds."""
    statuses = sorted({status for row in rows for status in row[key]})
    return " ".join(f"{status}:{sum(row[key].get(status, 0) for row in rows)}" for status in statuses)


class Logouts:
    """A thread that logs users in and out; `ended` has the tokens whose logout was acknowledged."""

    def __init__(self, instance, names):
        self.ended, self.stopping = [], threading.Event()
        self.thread = threading.Thread(target=self.run, args=(instance, names), daemon=True)
        self.thread.start()

    def run(self, instance, names):
        client = instance.client()
        for name in itertools.cycle(names):
            if self.stopping.is_set():
                return
            token = log_in(client, name)
            if token and log_out(client, token) == 204:
                self.ended.append(token)

    def stop(self):
        self.stopping.set()
        self.thread.join()
        return self.ended


def failover_round(kind, binary, replicas):
    with running(kind, binary, replicas) as (servers, instances):
        client = instances[0].client()
        users = {f"user-{number}": client.register(f"user-{number}")["user_id"] for number in range(12)}
        tokens = {log_in(client, name): user_id for name, user_id in users.items()}
        first_id = next(iter(users.values()))
        victim = servers.primary_of(first_id)
        affected = {token for token, user_id in tokens.items() if servers.primary_of(user_id) is victim}
        # Half of the readers read sessions on the victim, the others, if there are any, sessions elsewhere.
        chosen = sorted(tokens, key=lambda token: token not in affected)
        chosen = chosen[: THREADS // 2] + chosen[len(chosen) - THREADS // 2 :]
        reads, logouts = SessionReads(instances, chosen), Logouts(instances[0], users)
        time.sleep(0.5)
        killed = time.monotonic()
        victim.kill()

        def served():
            return [
                ended
                for begun, ended, status, _, token in reads.answers
                if token in affected and begun > killed and status == 200
            ]

        def is_noticed():
            return any(status != 200 and ended > killed for _, ended, status, *_ in reads.answers)

        until("the failure is noticed", is_noticed)
        until("another primary is named", lambda: servers.primary_of(first_id) not in (victim, None), pause=0.002)
        named = time.monotonic()
        until("the affected users are served", served)
        time.sleep(0.3)
        acknowledged = logouts.stop()
        answers = [answer for answer in reads.stop() if answer[1] > killed]
        check = instances[1].client()
        return {
            "service, s": min(served()) - killed,
            "after naming, s": max(0, min(served()) - named),
            "slowest, s": max(ended - begun for begun, ended, *_ in answers),
            "affected": count_statuses(answers, lambda token: token in affected),
            "others": count_statuses(answers, lambda token: token not in affected),
            "retry": all(retry for _, _, status, retry, _ in answers if status == 503),
            "acknowledged": len(acknowledged),
            "undone": sum(check.session_status(token) == 200 for token in acknowledged),
        }


def count_statuses(answers, is_chosen):
    return {
        str(status): sum(answer[2] == status for answer in answers if is_chosen(answer[4]))
        for status in sorted({answer[2] for answer in answers})
    }
