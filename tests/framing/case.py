"""One case, what must hold of it, and the upstream's answers."""

import contextlib
import time
from dataclasses import dataclass, field

from wire import PATIENCE, QUIET, echo, values

GET = b"GET /x HTTP/1.1\r\nHost: a.example\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a.example\r\n"
END = b"\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
TWO = OK + b"Content-Length: 2\r\n\r\nok"
POISON = OK + b"Content-Length: 8\r\n\r\npoisoned"
ROUNDS = 200


@dataclass
class Case:
    """One exchange of a client and an upstream through a proxy."""

    name: str
    steps: list
    answer: object = echo
    # How many responses the client waits for, and how many requests may reach the upstream (by default as many).
    expected: int = 1
    max_requests: int | None = None
    methods: tuple = ()
    # Headers to show besides those of framing.
    watch: list = field(default_factory=list)
    # No complete request may reach the upstream, and the client must get an error.
    refused: bool = False
    # Returns sentences about other promises that are broken.
    check: object = lambda seen: []
    # Replaces the steps.
    run: object = None
    http2: bool = False


@dataclass
class Seen:
    """What a case showed with one proxy."""

    requests: list
    responses: list
    ended: str | None
    stray: bytes
    upstream: str
    client: str


def bad(name, *steps, **more):
    return Case(name, list(steps), refused=True, **more)


def says(condition, sentence):
    return [] if condition else [sentence]


def arrives(name, value):
    """The header must reach the upstream unchanged."""
    return lambda seen: [
        f"{name} arrived as {values(request.headers, name)}"
        for request in seen.requests
        if values(request.headers, name) != [value]
    ]


def every(*checks):
    return lambda seen: [sentence for check in checks for sentence in check(seen)]


def body_is(body):
    return lambda seen: says(seen.requests and seen.requests[0].body == body, "the body did not arrive as it was")


def status_is(*statuses):
    return lambda seen: says(
        seen.responses and seen.responses[-1].status in statuses, f"the client did not get {statuses}"
    )


def closes(seen):
    """After a request with its length in two ways nothing may be taken for a request (RFC 9112, 6.1)."""
    return says(seen.ended in ("closed", "reset"), "the connection went on after a request with two lengths")


def breaks_off(seen):
    """The client must see that the response is incomplete."""
    whole = [one for one in seen.responses[:1] if one.is_whole and one.status == 200]
    return says(not whole, "the client takes a part of a response for the whole")


def is_hello_or_nothing(seen):
    whole = [one for one in seen.responses[:1] if one.is_whole and one.status == 200]
    return says(not whole or whole[0].body == b"hello", "the client takes a part of a response for the whole")


def closes_early(seen):
    return says(seen.ended, "the connection is held for a client that sends nothing more")


def next_is_its_own(seen):
    """The second response, if any, must be that of the second request."""
    return says(
        len(seen.responses) < 2 or seen.responses[-1].body == b"/next" or seen.responses[-1].status != 200,
        "the next request got another's response",
    )


def sent_at_most(count):
    return lambda seen: says(len(seen.requests) <= count, f"the request was sent {len(seen.requests)} times")


def but_next(answer):
    """This answer to all requests but the one that comes next."""
    return lambda exchange: echo(exchange) if exchange.request.path == "/next" else answer(exchange)


def raw(data, close=False):
    """An answer that reads the request and sends just these bytes."""

    def answer(exchange):
        exchange.read()
        exchange.send(data)
        return close

    return answer


def unread(data, close):
    """An answer that does not wait for the request's body."""

    def answer(exchange):
        exchange.send(data)
        if not close:
            exchange.read()
        return close

    return answer


def gone(exchange):
    exchange.read()
    return True


def late_continue(exchange):
    exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    return echo(exchange)


def thinks(exchange):
    exchange.read()
    with contextlib.suppress(TimeoutError):
        exchange.reader.connection.settimeout(PATIENCE)
        exchange.reader.more()
    return True


def much(exchange):
    exchange.read()
    exchange.send(OK + b"Content-Length: 67108864\r\n\r\n")
    for _ in range(1024):
        exchange.send(b"x" * 65536)
    return False


def websocket(exchange):
    exchange.read()
    if values(exchange.request.headers, "upgrade"):
        exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi")
        time.sleep(QUIET * 2)
        return True
    exchange.send(TWO)
    return False


def unasked_switch(exchange):
    exchange.read()
    exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
    time.sleep(QUIET)
    return True
