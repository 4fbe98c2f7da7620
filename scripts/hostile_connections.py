"""Attacks by connections, streams and bodies that never end: numbers 2 to 5."""

import itertools

from calm_user import swarm_of
from hostile_attackers import http1, shown, source, statuses
from hostile_targets import Result, login_body, logins, newcomers, operator, sessions
from measuring import free_port
from swarm import Asker, Holder, Pace, Staller

# How long an instance waits for a client that reads nothing, and how much later it may notice.
SEND_TIMEOUT, SLACK = 2, 1.5
BUNDLE, DOCUMENT = "/docs/swagger-ui-bundle.js", "/openapi.json"
# Documents asked for in a second: three times as many as a core can make, and no burden where they are made once.
DOCUMENTS = 800
DESCRIPTORS = 512


def headers(method, path, *more):
    """Of a request over HTTP/2."""
    pseudo = {":method": method, ":scheme": "http", ":authority": "a.example", ":path": path}
    return [(name.encode(), value.encode()) for name, value in [*pseudo.items(), *more]]


def stallers(connections, *arguments):
    return lambda counts: [Staller(counts, *arguments) for _ in range(connections)]


def stalled(lab, instances, habits, peers, port=None):
    """Windows beside streams that nobody reads, longer than they may last."""
    attack = lambda window: [swarm_of(port or instances[0].port, [source(window)], peers)]
    return lab.observer.compare(instances, habits, attack, seconds=SEND_TIMEOUT + SLACK + (0.5 if lab.short else 1.5))


def judge_stalled(result):
    counts = result.found.attackers
    oldest = max((count["oldest"] for count in counts), default=0)
    result.noted |= {"streams": sum(count["streams"] for count in counts), "answers": shown(statuses(result.found)), "held for at most": f"{oldest:.1f} s"}
    result.require(oldest <= SEND_TIMEOUT + SLACK, f"a stream that nobody reads was held for {oldest:.1f} s")
    return result


def timeouts(lab):
    return lab.settings(send_timeout=f"{SEND_TIMEOUT}s")


# --- 2 ---


def windows(lab):
    with lab.instance(timeouts(lab)) as instances:
        found = stalled(lab, instances, [sessions(instances[0].port)], stallers(1, headers("GET", "/v1/session"), 200))
    yield judge_stalled(Result("2a", "window 0: 200 sessions without a token", found))

    body = http1("POST", "/", login_body("nobody", "wrong password")).partition(b"\r\n\r\n")[2]
    login = headers("POST", "/v1/login", ("content-type", "application/json"), ("content-length", str(len(body))))
    with lab.instance(timeouts(lab)) as instances:
        found = stalled(lab, instances, [logins(instances[0].port)], stallers(8, login, 150, body))
    yield judge_stalled(Result("2b", "window 0: 8 × 150 logins", found))

    with lab.gateway(1, timeouts(lab), descriptors=1024) as (gateway, instance):
        habits = [sessions(instance.port, through=gateway.port), newcomers(gateway.port)]
        peers = lambda counts: [Staller(counts, headers("GET", (BUNDLE, DOCUMENT)[n % 2]), 200) for n in range(9)]
        found = stalled(lab, [gateway, instance], habits, peers)
    result = judge_stalled(Result("2c", "window 0: 9 × 200 documents through the gateway", found))
    note_newcomers(result)
    result.noted["descriptors of the gateway"] = f"{found.descriptors} of 1024"
    result.require(found.descriptors < 1000, f"the gateway used {found.descriptors} descriptors of 1024")
    yield result


def note_newcomers(result):
    good, asked = result.found.succeeded("newcomers")
    result.noted["newcomers"] = f"{good} of {asked}"
    result.require(good == asked > 0, f"{good} of {asked} new connections were served")


# --- 3 ---


def documents(lab):
    get = itertools.cycle([(path, http1("GET", path)) for path in [*7 * [DOCUMENT], BUNDLE]])
    with lab.instance(timeouts(lab)) as instances:
        port, count = instances[0].port, lab.scaled(512)

        def peers(counts):
            pace = Pace(DOCUMENTS)
            return [Asker(counts, get, pace) for _ in range(count)]

        attack = lambda window: [swarm_of(port, [source(window)], peers)]
        found = lab.observer.compare(instances, [sessions(port)], attack)
    result = Result("3a", f"{count} connections that fetch {DOCUMENTS} documents a second", found)
    result.noted["attackers"] = shown(statuses(found))
    yield result

    with lab.instance(timeouts(lab)) as instances:
        count = lab.scaled(64)
        found = stalled(lab, instances, [sessions(instances[0].port)], stallers(count, headers("GET", DOCUMENT), 50))
    yield judge_stalled(Result("3b", f"window 0: {count} × 50 documents", found))


# --- 4 ---


def slow_bodies(lab):
    head = http1("POST", "/v1/login", b"x" * 200)[:-200]
    for number, title, rest in (("4a", "login heads without a body", b""), ("4b", "login bodies of a byte a second", b"{" * 200)):
        settings = lab.settings(max_connections=lab.scaled(1000))
        with lab.gateway(2, settings) as (gateway, *instances):
            count = lab.scaled(3200)
            habits = [sessions(instances[0].port, through=gateway.port), newcomers(gateway.port)]
            peers = lambda counts: [Holder(counts, head, rest) for _ in range(count)]
            attack = lambda window: [swarm_of(gateway.port, [source(window)], peers)]
            found = lab.observer.compare([gateway, *instances], habits, attack)
        result = Result(number, f"{count} {title}, through the gateway", found)
        result.noted["descriptors of the gateway"] = found.descriptors
        note_newcomers(result)
        yield result


# --- 5 ---


def connections(lab):
    apart = free_port()
    with lab.instance(lab.settings(operator_listen=f"127.0.0.1:{apart}"), DESCRIPTORS) as instances:
        port = instances[0].port
        habits = [sessions(port), newcomers(port), operator(apart)]
        once = http1("GET", "/v1/health/live")
        ping = headers("GET", "/v1/health/live")

        def peers(counts):
            idle = [Holder(counts, once) for _ in range(DESCRIPTORS)]
            return idle + [Staller(counts, ping, 1, None, 65_535, True) for _ in range(DESCRIPTORS // 2)]

        attack = lambda window: [swarm_of(port, [source(window, number) for number in range(8)], peers)]
        found = lab.observer.compare(instances, habits, attack)
    result = Result("5", f"{DESCRIPTORS + DESCRIPTORS // 2} idle connections, {DESCRIPTORS} descriptors", found)
    note_newcomers(result)
    good, asked = found.succeeded("operator")
    result.noted |= {"operator": f"{good} of {asked}", "descriptors": f"{found.descriptors} of {DESCRIPTORS}"}
    result.noted["closed meanwhile"] = found.count("closed") + found.count("connections ended")
    result.require(good == asked > 0, f"the operator was served {good} of {asked} times")
    result.require(found.descriptors < DESCRIPTORS, f"all {DESCRIPTORS} descriptors were used")
    yield result
