"""A shard's server dies or hangs: what users of that shard and of the others notice.

Starts a private PostgreSQL for each of three shards, a private Redis and one instance, and logs in users of every
shard. They read GET /v1/users/me at a fixed rate over kept connections. Each round measures a window before, then kills
(SIGKILL) or pauses (SIGSTOP) one server, measures a window meanwhile, and brings the server back. Percentiles are of
single answers. The ratio is p99 meanwhile / p99 before of the shards that stay up.

Needs PostgreSQL and Redis.
"""

import math
import multiprocessing
import socket
import statistics
import sys
import threading
import time

from bench.lib.instance import CHEAP_HASHES, NO_THROTTLE, running
from bench.lib.postgres import SHARDS, postgres_shards, shards_setting
from bench.lib.redis import Redis, private_redis
from bench.lib.results import Outcome
from bench.lib.stats import quantile

VICTIM = "db-node-2"
PATIENCE = 60  # seconds until a client gives up
FAULTS = {"kill": "killed (SIGKILL)", "pause": "paused (SIGSTOP)"}


def add_options(parser):
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each fault [default: %(default)s]")
    parser.add_argument("--window", type=float, default=10, help="seconds of a window [default: %(default)s]")
    parser.add_argument(
        "--connections", type=int, default=4, help="connections to the users of each shard [default: %(default)s]"
    )
    parser.add_argument(
        "--rate", type=float, default=50, help="requests a second on each connection [default: %(default)s]"
    )
    parser.add_argument("--how", choices=list(FAULTS), help="this fault only")


def run(options):
    outcome = Outcome()
    with postgres_shards(SHARDS) as shards, private_redis(Redis, durability=()) as redis:
        stores = {"SYMBOLON_SHARDS": shards_setting(shards), "SYMBOLON_REDIS_URL": redis.url}
        with running(options.binary, CHEAP_HASHES | NO_THROTTLE | stores) as (instance,):
            tokens = log_in_on_each_shard(instance.client(), options.connections)
            for fault in [options.how] if options.how else FAULTS:
                rounds = [measure(options, instance.port, tokens, shards[VICTIM], fault) for _ in range(options.rounds)]
                title = f"{VICTIM} {FAULTS[fault]}, {len(rounds)} rounds"
                outcome.add(title, [summary(name, rounds) for name in rounds[0]], across=False)
                outcome.rounds[title] = rounds
    return outcome


def log_in_on_each_shard(client, count):
    """Tokens of `count` users of each shard. Their login names may be on other shards, which sessions don't need."""
    tokens, number = {shard: [] for shard in SHARDS}, 0
    while any(len(found) < count for found in tokens.values()):
        name, number = f"user-{number}", number + 1
        found = tokens[client.register(name)["partition"]["node_id"]]
        if len(found) < count:
            found.append(client.token(name))
    return tokens


def read_at_a_rate(port, token, interval, stop, answers):
    """Reads GET /v1/users/me every `interval` seconds over one connection; appends (begun, seconds, status)."""
    request = f"GET /v1/users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    connection, due = None, time.monotonic()
    while not stop.is_set():
        due += interval
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due, time.monotonic() - interval)
        begun, status = time.monotonic(), 0
        try:
            connection = connection or socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(request)
            status = read_status(connection)
        except OSError:
            connection = None
        answers.append((begun, time.monotonic() - begun, status))


def read_status(connection):
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += receive(connection)
    head = data[:end].lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    while len(data) < end + 4 + length:
        data += receive(connection)
    return int(head[9:12])


def receive(connection):
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("closed")
    return data


def load_shard(port, tokens, interval, stop, pipe):
    """Reads for the users of one shard, in a process of its own, so that no shard's answers delay another's."""
    sys.setswitchinterval(0.0005)
    answers = [[] for _ in tokens]
    threads = [
        threading.Thread(target=read_at_a_rate, args=(port, token, interval, stop, own))
        for token, own in zip(tokens, answers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send([answer for own in answers for answer in own])


def measure(options, port, tokens, victim, fault):
    """One round: its figures by name."""
    context = multiprocessing.get_context("fork")
    stop, pipes, processes = context.Event(), {}, []
    for shard in SHARDS:
        pipes[shard], sender = context.Pipe(duplex=False)
        arguments = (port, tokens[shard], 1 / options.rate, stop, sender)
        processes.append(context.Process(target=load_shard, args=arguments, daemon=True))
        processes[-1].start()
    time.sleep(1)
    times = {"begun": time.monotonic()}
    time.sleep(options.window)
    times["down"] = time.monotonic()
    if fault == "kill":
        victim.kill()
    else:
        victim.pause()
    time.sleep(options.window)
    times["restart"] = time.monotonic()
    if fault == "kill":
        victim.start()
    else:
        victim.resume()
    times["back"] = time.monotonic()
    time.sleep(options.window / 2)
    stop.set()
    answers = {shard: pipe.recv() for shard, pipe in pipes.items()}
    for process in processes:
        process.join()
    return figures(answers, times)


def figures(answers, times):
    others = [answer for shard in SHARDS if shard != VICTIM for answer in answers[shard]]
    before, meanwhile = between(others, times["begun"], times["down"]), between(others, times["down"], times["restart"])
    # Answers that were under way when the server went down count too.
    own = [one for one in answers[VICTIM] if one[0] + one[1] >= times["down"] and one[0] < times["restart"]]
    after = [one for one in answers[VICTIM] if one[0] + one[1] >= times["restart"]]
    # An answer that began before is late only from the moment that the server went down.
    late = [begun + took - max(begun, times["down"]) for begun, took, _ in own]
    refused = [one for one in own if one[2] == 503]
    first_503 = min((begun + took for begun, took, _ in refused), default=math.nan)
    served = min((begun + took for begun, took, status in after if status == 200), default=math.nan)
    last_503 = max((begun + took for begun, took, status in after if status != 200), default=times["restart"])
    result = {
        "others_before_p50_ms": percentile(took_of(before), 0.5),
        "others_before_p99_ms": percentile(took_of(before), 0.99),
        "others_during_p50_ms": percentile(took_of(meanwhile), 0.5),
        "others_during_p99_ms": percentile(took_of(meanwhile), 0.99),
        "others_slowest_ms": percentile(took_of(meanwhile), 1),
        "others_not_200": sum(status != 200 for _, _, status in before + meanwhile),
        "first_503_ms": 1000 * (first_503 - times["down"]),
        "own_slowest_answer_ms": percentile(late, 1),
        "503_p50_ms": percentile(took_of(refused), 0.5),
        "neither_200_nor_503": sum(status not in (200, 503) for _, _, status in own + after),
        "server_back_ms": 1000 * (times["back"] - times["restart"]),
        "first_200_after_back_ms": 1000 * max(0, served - times["back"]),
        "last_503_after_back_ms": 1000 * max(0, last_503 - times["back"]),
    }
    for shard in SHARDS:
        seconds = took_of(between(answers[shard], times["begun"], times["down"]))
        result[f"{shard}_before_p50_ms"] = percentile(seconds, 0.5)
        result[f"{shard}_before_p99_ms"] = percentile(seconds, 0.99)
    result["others_p99_ratio"] = result["others_during_p99_ms"] / result["others_before_p99_ms"]
    return {name: round(value, 2) for name, value in result.items()}


def between(answers, begin, end):
    return [answer for answer in answers if begin <= answer[0] < end]


def took_of(answers):
    return [took for _, took, _ in answers]


def percentile(seconds, share):
    return 1000 * quantile(seconds, share)


def summary(name, rounds):
    values = [one[name] for one in rounds]
    return {"": name, "median": f"{statistics.median(values):.2f}", "worst": f"{max(values):.2f}"}
