"""Attacks on accounts: numbers 7 to 9."""

import collections
import itertools

from calm_user import swarm_of
from hostile_attackers import askers, http1, shown, source, statuses
from hostile_targets import Result, login_body, logins, operator, register, sessions
from measuring import CHEAP

WEAK = "password1"
# Guesses of one address that are answered before it is told to wait, at most.
MAX_TRIES = 120
# Lines a second, at most, however many requests are refused.
MAX_LINES = 5


# --- 7 ---


def hashing(lab):
    profile = {"name": "Ada", "email": "ada@example.com"}
    names = lambda window: (f"new-{window}-{number}" for number in itertools.count())
    new = lambda window: (("new", http1("POST", "/v1/users", login_body(name) | {"profile": profile})) for name in names(window))
    own = lambda window: itertools.cycle([("own", http1("POST", "/v1/login", login_body(f"own-{number}"))) for number in range(4)])
    settings = {name: value for name, value in lab.settings().items() if name not in CHEAP}
    for number, title, requests in (("7a", "four connections that register", new), ("7b", "four that log in with their own password", own)):
        with lab.instance(settings) as instances:
            port = instances[0].port
            habit = logins(port, rate=6)
            register(port, [f"own-{number}" for number in range(4)])
            attack = lambda window: [swarm_of(port, [source(window)], askers(4, requests(window)))]
            found = lab.observer.compare(instances, [habit], attack, seconds=None if lab.short else 4)
        result = Result(number, title, found)
        result.noted |= {"logins": "{} of {}".format(*found.succeeded()), "attackers": shown(statuses(found))}
        yield result


# --- 8 ---


def weak_passwords(lab):
    profile = {"name": "Ada", "email": "ada@example.com"}
    taken = (f"calm-{number}" for number in itertools.cycle(range(20)))
    free = (f"free-{number}" for number in itertools.count())
    probe = lambda tag, name: (tag, http1("POST", "/v1/users", login_body(name, WEAK) | {"profile": profile}))
    requests = (probe(tag, name) for one, other in zip(taken, free) for tag, name in (("taken", one), ("free", other)))
    with lab.instance() as instances:
        habit = logins(instances[0].port)
        attack = lambda window: [swarm_of(instances[0].port, [source(window)], askers(4, requests))]
        found = lab.observer.compare(instances, [habit], attack)
    by_tag = {tag: collections.Counter() for tag in ("taken", "free")}
    for counts in found.attackers:
        for key, count in counts.items():
            if isinstance(key, tuple) and isinstance(key[1], int):
                by_tag[key[0]][key[1]] += count
    told = [sum(count for key, count in counts.items() if isinstance(key, tuple) and key[1] not in (429, 503, "closed")) for counts in found.attackers]
    # The calm user's logins are audited too.
    of_probes = found.audited - found.succeeded()[1]
    result = Result("8", "weak passwords for taken and free names", found)
    result.noted |= {tag: shown(counts) for tag, counts in by_tag.items()}
    result.noted |= {"names probed /s": f"{sum(told) / found.seconds:.0f}", "audit lines of it": of_probes}
    kinds = [set(counts) - {429, 503} for counts in by_tag.values()]
    result.require(kinds[0] == kinds[1] and kinds[0], f"taken names are answered with {kinds[0]}, free ones with {kinds[1]}")
    result.require(max(told, default=0) <= MAX_TRIES, f"one address probed {max(told, default=0)} names")
    result.require(of_probes > 0, "no probe is audited")
    yield result


# --- 9 ---


def operator_tokens(lab):
    wrong = lambda n: ("wrong", http1("GET", "/v1/operator/stats", headers=[b"Authorization: Bearer guess-%d" % n]))
    none = "none", http1("GET", "/v1/operator/stats")
    requests = (wrong(n) if n % 2 else none for n in itertools.count())
    with lab.instance() as instances:
        port = instances[0].port
        habits = [sessions(port), operator(port), *(operator(port, source(window), "neighbour", None) for window in range(2 * lab.observer.pairs))]
        attack = lambda window: [swarm_of(port, [source(window)], askers(8, requests))]
        found = lab.observer.compare(instances, habits, attack)
    total = statuses(found)
    told = [sum(count for key, count in counts.items() if key == ("wrong", 401)) for counts in found.attackers]
    lines = found.lines / found.seconds
    result = Result("9", "operator endpoint without and with wrong tokens", found)
    result.noted |= {"attackers": shown(total), "most guesses of one address": max(told, default=0), "lines /s": f"{lines:.1f}"}
    for name, who in (("operator", "the right token"), ("neighbour", "the right token from the attackers' address")):
        good, asked = found.succeeded(name)
        result.noted[who] = f"{good} of {asked}"
        result.require(good == asked > 0, f"{who} passed {good} of {asked} times")
    result.require(lines <= MAX_LINES, f"{lines:.0f} lines a second were logged")
    result.require(max(told, default=0) <= MAX_TRIES, f"one address made {max(told, default=0)} guesses")
    yield result
