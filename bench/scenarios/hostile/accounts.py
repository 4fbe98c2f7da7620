"""Attacks on accounts: numbers 7 to 9."""

import collections
import itertools

from bench.lib.client import login_body, registration_body
from bench.lib.instance import CHEAP_HASHES
from bench.scenarios.hostile.attackers import (
    count_tagged,
    counts_text,
    http1,
    requesters,
    source,
    statuses,
    swarm_of,
)
from bench.scenarios.hostile.targets import Result, logins, operator, register, sessions

WEAK_PASSWORD = "password1"
# How many guesses of one address may be answered before it is throttled.
MAX_TRIES = 120
# How many lines a second may be logged, however many requests are refused.
MAX_LINES = 5


# --- 7 ---


def hashing(testbed):
    def registrations(window):
        for number in itertools.count():
            yield "new", http1("POST", "/v1/users", registration_body(f"new-{window}-{number}"))

    def own_logins(_window):
        return itertools.cycle(
            [("own", http1("POST", "/v1/login", login_body(f"own-{number}"))) for number in range(4)]
        )

    settings = {name: value for name, value in testbed.settings().items() if name not in CHEAP_HASHES}
    cases = (
        ("7a", "four connections that register", registrations),
        ("7b", "four that log in with their own password", own_logins),
    )
    for number, title, requests in cases:
        with testbed.instance(settings) as instances:
            port = instances[0].port
            traffic = logins(port, rate=6)
            register(port, [f"own-{index}" for index in range(4)])

            def attack(window, port=port, requests=requests):
                return [swarm_of(port, [source(window)], requesters(4, requests(window)))]

            seconds = None if testbed.short else 4
            comparison = testbed.observer.compare(instances, [traffic], attack, seconds=seconds)
        result = Result(number, title, comparison)
        good, sent = comparison.succeeded()
        result.details |= {"logins": f"{good} of {sent}", "attackers": counts_text(statuses(comparison))}
        yield result


# --- 8 ---


def weak_passwords(testbed):
    def probe(tag, name):
        return tag, http1("POST", "/v1/users", registration_body(name, WEAK_PASSWORD))

    def probes():
        for number in itertools.count():
            yield probe("taken", f"calm-{number % 20}")
            yield probe("free", f"free-{number}")

    requests = probes()
    with testbed.instance() as instances:
        traffic = logins(instances[0].port)
        comparison = testbed.observer.compare(
            instances,
            [traffic],
            lambda window: [swarm_of(instances[0].port, [source(window)], requesters(4, requests))],
        )
    by_tag = {tag: collections.Counter() for tag in ("taken", "free")}
    for counts in comparison.attackers:
        for key, count in counts.items():
            if isinstance(key, tuple) and isinstance(key[1], int):
                by_tag[key[0]][key[1]] += count
    answered = [
        count_tagged(counts, lambda _, status: status not in (429, 503, "closed")) for counts in comparison.attackers
    ]
    # Regular users' logins are audited too.
    of_probes = comparison.audited - comparison.succeeded()[1]
    result = Result("8", "weak passwords for taken and free names", comparison)
    result.details |= {tag: counts_text(counts) for tag, counts in by_tag.items()}
    result.details |= {"names probed /s": f"{sum(answered) / comparison.seconds:.0f}", "audit lines of it": of_probes}
    taken, free = (set(counts) - {429, 503} for counts in by_tag.values())
    result.require(taken == free and taken, f"taken names are answered with {taken}, free ones with {free}")
    most = max(answered, default=0)
    result.require(most <= MAX_TRIES, f"one address probed {most} names")
    result.require(of_probes > 0, "no probe is audited")
    yield result


# --- 9 ---


def operator_tokens(testbed):
    def attempts():
        for number in itertools.count():
            headers = [b"Authorization: Bearer guess-%d" % number] if number % 2 else []
            yield "wrong" if headers else "none", http1("GET", "/v1/operator/stats", headers=headers)

    requests = attempts()
    with testbed.instance() as instances:
        port = instances[0].port
        windows = range(2 * testbed.observer.pairs)
        neighbours = [operator(port, source(window), "neighbour", None) for window in windows]
        comparison = testbed.observer.compare(
            instances,
            [sessions(port), operator(port), *neighbours],
            lambda window: [swarm_of(port, [source(window)], requesters(8, requests))],
        )
    guesses = [counts["wrong", 401] for counts in comparison.attackers]
    most = max(guesses, default=0)
    lines = comparison.lines / comparison.seconds
    result = Result("9", "operator endpoint without and with wrong tokens", comparison)
    result.details |= {
        "attackers": counts_text(statuses(comparison)),
        "maximum of guesses of one address": most,
        "lines /s": f"{lines:.1f}",
    }
    users = {"operator": "the right token", "neighbour": "the right token from the attackers' address"}
    for name, title in users.items():
        good, sent = comparison.succeeded(name)
        result.details[title] = f"{good} of {sent}"
        result.require(good == sent > 0, f"{title} passed {good} of {sent} times")
    result.require(lines <= MAX_LINES, f"{lines:.0f} lines a second were logged")
    result.require(most <= MAX_TRIES, f"one address made {most} guesses")
    yield result
