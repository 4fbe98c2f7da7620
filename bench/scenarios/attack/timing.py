"""Whether answers to failing logins can be told apart by status, headers, body or time."""

import bisect
import math
import random
import statistics
import time

from bench.lib.client import PASSWORD
from bench.lib.instance import CHEAP_HASHES, OPERATOR_TOKEN, running
from bench.scenarios.attack.common import NO_ADDRESS_LIMIT, NO_NAME_LIMIT, PROXY, address, login

ALPHA = 0.01  # probability of a false alarm, over all comparisons
WRONG = "correct horse batterz"
# Addresses from here on are those from which throttled names were guessed.
FIRST_THROTTLED_ADDRESS = 1_000_000
VARYING_HEADERS = ("x-request-id", "date", "retry-after")
PAIRS = [
    ("wrong password", "unknown name"),
    ("wrong password", "suspended, right password"),
    ("wrong password", "suspended, wrong password"),
    ("unknown name", "suspended, right password"),
    ("refused by throttle, known name", "refused by throttle, unknown name"),
]


def kolmogorov_smirnov(first, second):
    """The probability of samples so different from one distribution (two-sided, asymptotic)."""
    first, second = sorted(first), sorted(second)

    def distance(at):
        return abs(bisect.bisect_right(first, at) / len(first) - bisect.bisect_right(second, at) / len(second))

    size = math.sqrt(len(first) * len(second) / (len(first) + len(second)))
    value = (size + 0.12 + 0.11 / size) * max(map(distance, first + second))
    if value < 0.2:
        return 1.0
    return min(1.0, max(0.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * value) ** 2) for k in range(1, 101))))


def mann_whitney(first, second):
    """The probability of samples one of which tends so much to be the larger (two-sided, normal, ties are rare)."""
    ranks = {value: rank for rank, value in enumerate(sorted(first + second), 1)}
    u = sum(ranks[value] for value in first) - len(first) * (len(first) + 1) / 2
    mean = len(first) * len(second) / 2
    deviation = math.sqrt(len(first) * len(second) * (len(first) + len(second) + 1) / 12)
    return math.erfc(abs(u - mean) / deviation / math.sqrt(2))


def register_users(client, generator):
    """Names of users, of suspended users, and names without a user, with random numbers in them."""
    names = [f"user-{number}" for number in generator.sample(range(100_000, 1_000_000), 600)]
    known, suspended, unknown = names[:200], names[200:400], names[400:]
    for name in known + suspended:
        user_id = client.register(name)["user_id"]
        if name in suspended:
            path = f"/v1/operator/users/{user_id}/suspended"
            assert client.raw("PUT", path, {"suspended": True}, token=OPERATOR_TOKEN)[0] == 204
    return known, suspended, unknown


def measure_timing(options, outcome):
    """Tries of all cases in random order, and comparisons of their times."""
    settings = PROXY | NO_ADDRESS_LIMIT | NO_NAME_LIMIT | (CHEAP_HASHES if options.cheap else {})
    # A throttled name stays throttled for as long as this takes.
    settings |= {"SYMBOLON_THROTTLE_NAME_ADDRESS": "10/1day"}
    generator = random.Random(options.seed)
    with running(options.binary, settings) as (instance,):
        client = instance.client()
        known, suspended, unknown = register_users(client, generator)
        # Names, password, and whether the throttle refuses it.
        cases = {
            "wrong password": (known, WRONG, False),
            "unknown name": (unknown, WRONG, False),
            "suspended, right password": (suspended, PASSWORD, False),
            "suspended, wrong password": (suspended, WRONG, False),
            "refused by throttle, known name": (known[:50], WRONG, True),
            "refused by throttle, unknown name": (unknown[:50], WRONG, True),
        }
        # Each throttled name is refused from an address of its own.
        throttled = {
            name: address(FIRST_THROTTLED_ADDRESS + number) for number, name in enumerate(known[:50] + unknown[:50])
        }
        for name, source in throttled.items():
            while login(client, name, WRONG, source)[0] == 401:
                pass
        order = [case for case in cases for _ in range(options.tries)]
        generator.shuffle(order)
        times, answers = {case: [] for case in cases}, {case: set() for case in cases}
        for number, case in enumerate(order):
            names, password, is_throttled = cases[case]
            name = generator.choice(names)
            source = throttled[name] if is_throttled else address(number)
            begun = time.perf_counter()
            status, headers, body = login(client, name, password, source)
            times[case].append(time.perf_counter() - begun)
            kept = {key: value for key, value in headers.items() if key not in VARYING_HEADERS}
            answers[case].add((status, body, str(sorted(kept.items()))))
    threshold = ALPHA / (2 * len(PAIRS))
    return [compare(one, other, times, answers, threshold, options, outcome) for one, other in PAIRS]


def compare(one, other, times, answers, threshold, options, outcome):
    same = len(answers[one]) == 1 and answers[one] == answers[other]
    chances = kolmogorov_smirnov(times[one], times[other]), mann_whitney(times[one], times[other])
    if not same:
        outcome.broken.append(f"timing: answers differ: {one}, {other}: {answers[one]} {answers[other]}")
    if min(chances) < threshold:
        outcome.broken.append(f"timing: {one} and {other} can be told apart (p = {min(chances):.2g})")
    medians = [statistics.median(times[case]) * 1000 for case in (one, other)]
    return {
        "": one,
        " ": other,
        "tries of each": options.tries,
        "status, headers and body": "the same" if same else "DIFFER",
        "medians, ms": f"{medians[0]:.3f} {medians[1]:.3f}",
        "Kolmogorov-Smirnov p": f"{chances[0]:.3f}",
        "Mann-Whitney p": f"{chances[1]:.3f}",
        "told apart if p below": threshold,
    }
