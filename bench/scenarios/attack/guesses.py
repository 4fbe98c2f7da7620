"""Guesses of passwords: many at once, and from many addresses."""

import threading
import time
from collections import Counter

from bench.lib.client import PASSWORD
from bench.lib.errors import MeasurementError
from bench.lib.instance import CHEAP_HASHES, running
from bench.scenarios.attack.common import NO_ADDRESS_LIMIT, PROXY, address, login

GUESSES, LIMIT = 64, 10
# Where the owner may be refused at the earliest.
MIN_REQUESTS, MIN_ADDRESSES = 1000, 100
MAX_ADDRESSES = 10_000


def parallel(count, work):
    """Runs work(number) on so many threads, from the same moment on; returns what they return."""
    results, barrier = [None] * count, threading.Barrier(count)

    def run(number):
        barrier.wait()
        results[number] = work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def hashed(instances):
    return sum(instance.statistics()["password_hashing"]["computed"] for instance in instances)


def measure_guesses(options, outcome):
    """Each account is guessed from all instances at once."""
    rows = []
    for title, count, redis in (
        ("one instance", 1, False),
        ("three instances", 3, False),
        ("three with Redis", 3, True),
    ):
        with running(options.binary, NO_ADDRESS_LIMIT, instances=count, redis=redis) as instances:
            client = instances[0].client()
            max_hashed, statuses = 0, Counter()
            for number in range(options.accounts):
                name = f"account-{number}"
                client.register(name)
                clients = [instances[guess % count].client() for guess in range(GUESSES)]
                before = hashed(instances)
                answers = parallel(GUESSES, lambda guess: login(clients[guess], name, f"guess number {guess}")[0])  # noqa: B023
                own = hashed(instances) - before
                max_hashed = max(max_hashed, own)
                statuses.update(answers)
                if own > LIMIT or answers.count(401) > LIMIT or set(answers) - {401, 429, 503}:
                    outcome.broken.append(f"guesses: {title}: {own} hashed, {sorted(set(answers))}")
        rows.append(
            {
                "on": title,
                f"accounts, each guessed {GUESSES} times at once": options.accounts,
                "limit": LIMIT,
                "maximum hashed of one account's": max_hashed,
                "answers": " ".join(f"{status}:{statuses[status]}" for status in sorted(statuses)),
            }
        )
    return rows


def measure_lockout(options, outcome):
    """Wrong passwords until the owner, at another address, is refused."""
    with running(options.binary, PROXY | CHEAP_HASHES) as (instance,):
        client = instance.client()
        client.register("ada")
        requests, addresses, retry_after = 0, 0, None
        begun = time.monotonic()
        while not retry_after:
            addresses += 1
            while login(client, "ada", "wrong password", address(addresses))[0] == 401:
                requests += 1
                status, headers, _ = login(client, "ada", PASSWORD, "192.0.2.1")
                if status != 200:
                    retry_after = headers["retry-after"]
                    break
            if addresses > MAX_ADDRESSES:
                raise MeasurementError("lockout: the owner is never refused")
        elapsed = time.monotonic() - begun
    if requests < MIN_REQUESTS or addresses < MIN_ADDRESSES:
        outcome.broken.append(f"lockout: the owner was refused after {requests} requests from {addresses} addresses")
    row = {
        "wrong passwords until the owner is refused": requests,
        "addresses that they came from": addresses,
        "in seconds": f"{elapsed:.1f}",
        "owner's logins meanwhile, all 200": requests - 1,
        "then the owner is told to wait, s": retry_after,
    }
    return [row]
