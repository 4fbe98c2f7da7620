"""Attacks by connections, streams and bodies that never end: numbers 2 to 5."""

import itertools

from bench.lib.client import login_body
from bench.lib.processes import free_port
from bench.scenarios.hostile.attackers import counts_text, http1, source, statuses, swarm_of
from bench.scenarios.hostile.peers import NonReader, Pace, Requester, SlowSender
from bench.scenarios.hostile.targets import Result, logins, newcomers, operator, sessions

# Seconds that an instance waits for a client that reads nothing, and that it may be late.
SEND_TIMEOUT, SLACK = 2, 1.5
BUNDLE, DOCUMENT = "/docs/swagger-ui-bundle.js", "/openapi.json"
# Documents requested in a second: three times as many as a core can render, no burden where they are rendered once.
DOCUMENTS = 800
DESCRIPTORS = 512


def headers(method, path, *more):
    """The headers of a request over HTTP/2."""
    pseudo = {":method": method, ":scheme": "http", ":authority": "a.example", ":path": path}
    return [(name.encode(), value.encode()) for name, value in [*pseudo.items(), *more]]


def non_readers(connections, *arguments):
    return lambda counts: [NonReader(counts, *arguments) for _ in range(connections)]


def compare_unread(testbed, instances, traffic, peers):
    """Windows longer than a stream that its client does not read may last."""
    return testbed.observer.compare(
        instances,
        traffic,
        lambda window: [swarm_of(instances[0].port, [source(window)], peers)],
        seconds=SEND_TIMEOUT + SLACK + (0.5 if testbed.short else 1.5),
    )


def judge_unread(result):
    counts = result.comparison.attackers
    oldest = max((count["oldest"] for count in counts), default=0)
    result.details |= {
        "streams": sum(count["streams"] for count in counts),
        "answers": counts_text(statuses(result.comparison)),
        "held for at most": f"{oldest:.1f} s",
    }
    result.require(
        oldest <= SEND_TIMEOUT + SLACK, f"a stream that its client does not read was held for {oldest:.1f} s"
    )
    return result


def timeouts(testbed):
    return testbed.settings(send_timeout=f"{SEND_TIMEOUT}s")


# --- 2 ---


def unread_streams(testbed):
    with testbed.instance(timeouts(testbed)) as instances:
        comparison = compare_unread(
            testbed, instances, [sessions(instances[0].port)], non_readers(1, headers("GET", "/v1/session"), 200)
        )
    yield judge_unread(Result("2a", "window 0: 200 sessions without a token", comparison))

    body = http1("POST", "/", login_body("nobody", "wrong password")).partition(b"\r\n\r\n")[2]
    login = headers("POST", "/v1/login", ("content-type", "application/json"), ("content-length", str(len(body))))
    with testbed.instance(timeouts(testbed)) as instances:
        comparison = compare_unread(testbed, instances, [logins(instances[0].port)], non_readers(8, login, 150, body))
    yield judge_unread(Result("2b", "window 0: 8 × 150 logins", comparison))

    with testbed.gateway(1, timeouts(testbed), descriptors=1024) as (gateway, instance):
        traffic = [sessions(instance.port, through=gateway.port), newcomers(gateway.port)]

        def peers(counts):
            return [NonReader(counts, headers("GET", (BUNDLE, DOCUMENT)[number % 2]), 200) for number in range(9)]

        comparison = compare_unread(testbed, [gateway, instance], traffic, peers)
    result = judge_unread(Result("2c", "window 0: 9 × 200 documents through the gateway", comparison))
    note_newcomers(result)
    result.details["descriptors of the gateway"] = f"{comparison.descriptors} of 1024"
    result.require(comparison.descriptors < 1000, f"the gateway used {comparison.descriptors} descriptors of 1024")
    yield result


def note_newcomers(result):
    good, sent = result.comparison.succeeded("newcomers")
    result.details["newcomers"] = f"{good} of {sent}"
    result.require(good == sent > 0, f"{good} of {sent} new connections were served")


# --- 3 ---


def documents(testbed):
    get = itertools.cycle([(path, http1("GET", path)) for path in [*7 * [DOCUMENT], BUNDLE]])
    with testbed.instance(timeouts(testbed)) as instances:
        port, count = instances[0].port, testbed.scaled(512)

        def peers(counts):
            pace = Pace(DOCUMENTS)
            return [Requester(counts, get, pace) for _ in range(count)]

        comparison = testbed.observer.compare(
            instances, [sessions(port)], lambda window: [swarm_of(port, [source(window)], peers)]
        )
    result = Result("3a", f"{count} connections that fetch {DOCUMENTS} documents a second", comparison)
    result.details["attackers"] = counts_text(statuses(comparison))
    yield result

    with testbed.instance(timeouts(testbed)) as instances:
        count = testbed.scaled(64)
        comparison = compare_unread(
            testbed, instances, [sessions(instances[0].port)], non_readers(count, headers("GET", DOCUMENT), 50)
        )
    yield judge_unread(Result("3b", f"window 0: {count} × 50 documents", comparison))


# --- 4 ---


def slow_bodies(testbed):
    head = http1("POST", "/v1/login", b"x" * 200)[:-200]
    cases = (("4a", "login heads without a body", b""), ("4b", "login bodies of a byte a second", b"{" * 200))
    for number, title, rest in cases:
        settings = testbed.settings(max_connections=testbed.scaled(1000))
        with testbed.gateway(2, settings) as (gateway, *instances):
            count = testbed.scaled(3200)
            traffic = [sessions(instances[0].port, through=gateway.port), newcomers(gateway.port)]

            def attack(window, port=gateway.port, count=count, rest=rest):
                def peers(counts):
                    return [SlowSender(counts, head, rest) for _ in range(count)]

                return [swarm_of(port, [source(window)], peers)]

            comparison = testbed.observer.compare([gateway, *instances], traffic, attack)
        result = Result(number, f"{count} {title}, through the gateway", comparison)
        result.details["descriptors of the gateway"] = comparison.descriptors
        note_newcomers(result)
        yield result


# --- 5 ---


def idle_connections(testbed):
    apart = free_port()
    with testbed.instance(testbed.settings(operator_listen=f"127.0.0.1:{apart}"), DESCRIPTORS) as instances:
        port = instances[0].port
        traffic = [sessions(port), newcomers(port), operator(apart)]
        once = http1("GET", "/v1/health/live")
        ping = headers("GET", "/v1/health/live")

        def peers(counts):
            idle = [SlowSender(counts, once) for _ in range(DESCRIPTORS)]
            return idle + [NonReader(counts, ping, 1, None, 65_535, True) for _ in range(DESCRIPTORS // 2)]

        comparison = testbed.observer.compare(
            instances,
            traffic,
            lambda window: [swarm_of(port, [source(window, number) for number in range(8)], peers)],
        )
    result = Result("5", f"{DESCRIPTORS + DESCRIPTORS // 2} idle connections, {DESCRIPTORS} descriptors", comparison)
    note_newcomers(result)
    good, sent = comparison.succeeded("operator")
    result.details |= {"operator": f"{good} of {sent}", "descriptors": f"{comparison.descriptors} of {DESCRIPTORS}"}
    result.details["closed meanwhile"] = comparison.count("closed") + comparison.count("connections ended")
    result.require(good == sent > 0, f"the operator was served {good} of {sent} times")
    result.require(comparison.descriptors < DESCRIPTORS, f"all {DESCRIPTORS} descriptors were used")
    yield result
