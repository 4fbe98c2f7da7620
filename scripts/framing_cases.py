"""The cases of compare-framing: what a client sends, what the upstream answers, and what must hold."""

import contextlib
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from framing import (
    CLOSE,
    CONTINUE,
    HALF_CLOSE,
    PATIENCE,
    QUIET,
    RESPONSE,
    Client,
    echo,
    reply,
    values,
)
from http2_frames import RESET, frame, greeting, http2_request, http2_text

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
    """One thing to try."""

    name: str
    steps: list
    answer: object = echo
    # How many responses the client waits for, and how many requests may reach the upstream (as many).
    expected: int = 1
    most: int | None = None
    methods: tuple = ()
    # Headers to show besides those of framing.
    watch: list = field(default_factory=list)
    # No request may reach the upstream whole, and the client must be told of its mistake.
    refused: bool = False
    # What else must hold, as sentences where it does not.
    check: object = lambda seen: []
    # Speaks in another way than through steps.
    run: object = None
    http2: bool = False


@dataclass
class Seen:
    """What a case showed at one proxy."""

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
    """The header reaches the upstream as it was."""
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
    """Where a request says its length in two ways, nothing after it may be taken for a request (RFC 9112, 6.1)."""
    return says(seen.ended in ("closed", "reset"), "the connection went on after a request with two lengths")


def breaks_off(seen):
    """The client can see that the response is not whole."""
    whole = [one for one in seen.responses[:1] if one.is_whole and one.status == 200]
    return says(not whole, "the client takes a part of a response for the whole")


def is_hello_or_nothing(seen):
    whole = [one for one in seen.responses[:1] if one.is_whole and one.status == 200]
    return says(not whole or whole[0].body == b"hello", "the client takes a part of a response for the whole")


def closes_early(seen):
    return says(seen.ended, "the connection is held for a client that sends nothing more")


def next_is_its_own(seen):
    """The second response, if any, is that of the second request."""
    return says(
        len(seen.responses) < 2 or seen.responses[-1].body == b"/next" or seen.responses[-1].status != 200,
        "the next request got another's response",
    )


def sent_at_most(count):
    return lambda seen: says(len(seen.requests) <= count, f"the request was sent {len(seen.requests)} times")


def but_next(answer):
    """This answer to all but the request that comes next."""
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


def tally(counts):
    return ", ".join(f"{count} × {what}" for what, count in sorted(counts.items(), key=lambda pair: str(pair[0])))


def patient_client(port, client):
    return client if client and client.ended is None else Client(port)


def race(method):
    """The upstream closes a kept connection at about the moment the next request comes."""

    def answer(exchange):
        echo(exchange)
        if exchange.request.path.startswith("/first"):
            time.sleep(random.uniform(0, 0.001))
            return True
        return False

    def run(proxy, upstream):
        body = b"Content-Length: 5\r\n\r\nhello" if method == b"POST" else b"\r\n"
        statuses, client = Counter(), None
        for number in range(ROUNDS):
            for part in (b"first", b"second"):
                client = patient_client(proxy.port, client)
                before = len(client.finals())
                head = b"%s /%s-%d HTTP/1.1\r\nHost: a.example\r\n" % (
                    b"GET" if part == b"first" else method,
                    part,
                    number,
                )
                client.take([head + (b"\r\n" if part == b"first" else body), RESPONSE])
                if part == b"second":
                    found = client.finals()[before:]
                    statuses[found[0].status if found else "closed"] += 1
                else:
                    time.sleep(random.uniform(0, 0.001))
            if number % 20 == 19:
                # What is kept would get too long to take apart.
                client.close()
        times = Counter(request.path for request in upstream.settle() if request.path.startswith("/second"))
        sent = Counter(times.values())
        broken = says(method != b"POST" or max(sent, default=0) <= 1, "a POST was sent twice")
        return (
            f"{sum(sent.values())} of {ROUNDS} came; sent {tally({f'{n} times': c for n, c in sent.items()})}",
            tally(statuses),
            broken,
        )

    return Case(f"idle connection closed as a {method.decode()} comes, {ROUNDS} rounds", [], answer, run=run)


# When the upstream sends what nobody asked for: with its response, a little later, or as the next request comes.
TOGETHER, LATER, MEANWHILE = "at once", "1 ms later", "as another client asks"


def blame(name, steps, answer=echo):
    """Many clients at once make one mistake, for which the upstream must not be taken out."""

    def attempt(port):
        client = Client(port)
        if not client.take(steps):
            client.wait(client.finals)
            client.close()

    def run(proxy, upstream):
        upstream.begin(echo)
        fresh = proxy.another()
        try:
            upstream.begin(answer)
            clients = [threading.Thread(target=attempt, args=(fresh.port,)) for _ in range(8)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            time.sleep(QUIET)
            is_out = fresh.has_ejected()
        finally:
            fresh.stop()
        return "is taken out" if is_out else "is kept", "", says(not is_out, "clients had a node taken out")

    return Case(f"8 times: {name}", [], answer, run=run)


def poison(attack, what, reply_with, when):
    """The upstream sends more than its response; another client asks next."""
    sent = threading.Event()

    def answer(exchange):
        if exchange.request.path != "/attack":
            return echo(exchange)
        exchange.read()
        if when == TOGETHER:
            exchange.send(reply_with + POISON)
        else:
            exchange.send(reply_with)
            time.sleep(0.001 if when == LATER else random.uniform(0, 0.001))
            exchange.send(POISON)
            sent.set()
        return False

    def run(proxy, _):
        counts, attacker, victim = Counter(), None, None
        for number in range(ROUNDS):
            attacker, victim = patient_client(proxy.port, attacker), patient_client(proxy.port, victim)
            attacker.methods = [attack.split(b" ")[0].decode()] * ROUNDS
            sent.clear()
            attacker.take([attack, RESPONSE])
            if when == LATER:
                sent.wait(PATIENCE)
                time.sleep(0.02)
            before = len(victim.finals())
            victim.take([b"GET /victim-%d HTTP/1.1\r\nHost: a.example\r\n\r\n" % number, RESPONSE])
            found = victim.finals()[before:]
            kind = "closed" if not found else "its own" if found[0].body == b"/victim-%d" % number else found[0].status
            counts["another's" if kind == 200 else kind] += 1
            if number % 20 == 19:
                attacker.close()
                victim.close()
        # Once the next request is on its way, nobody can tell whose response it is.
        is_kept = when == MEANWHILE or "another's" not in counts
        return "", tally(counts), says(is_kept, "clients got another's response")

    return Case(f"{what}, and a whole response {when}, {ROUNDS} rounds: the next client gets", [], answer, run=run)


def http2(name, headers, *data, **more):
    pseudo = {
        b":method": b"POST" if data else b"GET",
        b":scheme": b"http",
        b":authority": b"a.example",
        b":path": b"/x",
    }
    pseudo |= {key: value for key, value in headers if key.startswith(b":")}
    rest = [(key, value) for key, value in headers if not key.startswith(b":")]
    request = http2_request([*pseudo.items(), *rest], *data)

    def run(proxy, upstream, watch):
        client = Client(proxy.http2_port)
        client.take([request])
        client.wait(lambda: http2_text(client.received)[1])
        time.sleep(QUIET)
        client.close()
        requests = upstream.settle()
        return requests, http2_text(client.received)[0] or "nothing"

    return Case(f"HTTP/2: {name}", [], run=run, http2=True, **more)


def requests():
    """What clients send."""
    yield Case("plain GET", [GET + END], check=status_is(200))
    yield Case("POST with Content-Length", [POST + b"Content-Length: 5\r\n\r\nhello"], check=body_is(b"hello"))
    yield Case("POST, chunked", [POST + CHUNKED + END + HELLO], check=body_is(b"hello"))
    yield Case("POST without a body", [POST + END], check=status_is(200))
    yield Case("GET with a body", [GET + b"Content-Length: 5\r\n\r\nhello"], check=body_is(b"hello"))
    both = {"check": closes}
    yield Case("CL and TE", [POST + b"Content-Length: 5\r\n" + CHUNKED + END + b"0\r\n\r\n" + SMUGGLED], **both)
    yield Case("TE and CL", [POST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED], **both)
    inner = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    yield Case("TE.CL: a request inside a chunk", [POST + b"Content-Length: 4\r\n" + CHUNKED + END + inner], **both)
    yield bad("CL twice, differing", POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
    yield Case("CL twice, equal", [POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"])
    yield Case("CL a list of equals: 5, 5", [POST + b"Content-Length: 5, 5\r\n\r\nhello"])
    yield bad("CL a list: 5, 6", POST + b"Content-Length: 5, 6\r\n\r\nhello!")
    for value in (b"+5", b"-5", b"5 5", b"0x5", b"5.0", b"", b"99999999999999999999"):
        yield bad(f"CL: {value.decode() or 'empty'}", POST + b"Content-Length: " + value + b"\r\n\r\nhello")
    yield Case("CL: 005", [POST + b"Content-Length: 005\r\n\r\nhello"], check=body_is(b"hello"))
    for value in (
        b"xchunked",
        b"chunked, identity",
        b"identity",
        b"gzip",
        b"chunked, chunked",
        b"\x0bchunked",
        b'"chunked"',
    ):
        shown = value.decode("latin-1").replace("\x0b", "\\v")
        yield bad(f"TE: {shown}", POST + b"Transfer-Encoding: " + value + b"\r\n\r\n" + HELLO + SMUGGLED)
    yield Case(
        "TE: gzip, chunked",
        [POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + HELLO],
        check=lambda seen: says(
            not any(
                request.end == "whole" and not values(request.headers, "transfer-encoding")[:1] == ["gzip, chunked"]
                for request in seen.requests
            ),
            "the coding gzip was taken off the head, but not off the body",
        ),
    )
    yield Case("TE: Chunked", [POST + b"Transfer-Encoding: Chunked\r\n\r\n" + HELLO], check=body_is(b"hello"))
    yield bad(
        "TE twice: chunked and identity", POST + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n" + HELLO + SMUGGLED
    )
    yield bad("TE in HTTP/1.0", b"POST /x HTTP/1.0\r\nHost: a.example\r\n" + CHUNKED + END + HELLO + SMUGGLED)
    yield bad("space before TE's colon", POST + b"Transfer-Encoding : chunked\r\n\r\n" + HELLO)
    yield bad("space before CL's colon", POST + b"Content-Length : 5\r\n\r\nhello")
    yield bad("obs-fold", GET + b"X-A: one\r\n two\r\n\r\n", watch=["x-a"])
    yield bad("obs-fold of TE", POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + HELLO)
    yield bad("first header folded", b"GET /x HTTP/1.1\r\n X-A: one\r\nHost: a.example\r\n\r\n")
    yield bad("header without a colon", GET + b"X-A\r\n\r\n")
    yield bad("header with an empty name", GET + b": x\r\n\r\n")
    yield Case("bare LF line ends", [GET.replace(b"\r\n", b"\n") + b"X-A: one\n\n"], watch=["x-a"])
    yield bad("bare CR in a value", GET + b"X-A: one\rX-B: two\r\n\r\n", watch=["x-a", "x-b"])
    yield bad("bare CR as a line end", b"GET /x HTTP/1.1\rHost: a.example\r\r")
    yield bad("NUL in a value", GET + b"X-A: one\0two\r\n\r\n", watch=["x-a"])
    yield bad("NUL in a name", GET + b"X-\0A: one\r\n\r\n")
    yield Case("underscore in a name", [GET + b"X_Forwarded_For: 192.0.2.7\r\n\r\n"], watch=["x_forwarded_for"])
    yield bad("bad chunk size", POST + CHUNKED + END + b"g\r\nhello\r\n0\r\n\r\n")
    yield bad("chunk size with a sign", POST + CHUNKED + END + b"+5\r\nhello\r\n0\r\n\r\n")
    yield bad("chunk size 0x5", POST + CHUNKED + END + b"0x5\r\nhello\r\n0\r\n\r\n")
    yield bad("chunk size overflows", POST + CHUNKED + END + b"10000000000000005\r\nhello\r\n0\r\n\r\n")
    yield bad("chunk longer than its size", POST + CHUNKED + END + b"3\r\nhello\r\n0\r\n\r\n")
    yield bad("chunk size ends in bare LF", POST + CHUNKED + END + b"5\nhello\r\n0\r\n\r\n")
    yield bad("chunk data ends in bare LF", POST + CHUNKED + END + b"5\r\nhello\n0\r\n\r\n")
    yield Case("chunk extension", [POST + CHUNKED + END + b"5;a=b\r\nhello\r\n0\r\n\r\n"], check=body_is(b"hello"))
    yield bad("bare LF in a chunk extension", POST + CHUNKED + END + b"5;a\nhello\r\n0\r\n\r\n")
    yield bad("chunk extension of 100 KiB", POST + CHUNKED + END + b"5;a=" + b"b" * 102400 + b"\r\nhello\r\n0\r\n\r\n")
    yield bad("no last chunk, client half-closes", POST + CHUNKED + END + b"5\r\nhello\r\n", HALF_CLOSE)
    yield bad("client gone mid-body, chunked", POST + CHUNKED + END + b"5\r\nhello\r\n", 0.1, CLOSE, expected=0)
    yield bad("client gone mid-body, CL", POST + b"Content-Length: 10\r\n\r\nhello", 0.1, CLOSE, expected=0)
    yield bad("client stops mid-body", POST + b"Content-Length: 10\r\n\r\nhello")
    yield Case("slow body, a byte each 500 ms for 5 s", [POST + b"Content-Length: 10\r\n\r\n", *[b"x", 0.5] * 10])
    yield Case("client half-closes after its request", [GET + END, HALF_CLOSE])


def heads():
    """Targets, hosts, and headers that concern one connection."""
    shown = ["x-a", "authorization", "x-forwarded-for"]
    yield Case(
        "Connection: close, X-A",
        [GET + b"Connection: close, X-A\r\nX-A: one\r\n\r\n"],
        watch=shown,
        check=lambda seen: says(
            not any(values(one.headers, "x-a") for one in seen.requests), "a nominated header went on"
        ),
    )
    nominating = b"Connection: Host, Authorization, X-Forwarded-For, Content-Length\r\nAuthorization: Bearer t\r\n"
    yield Case(
        "Connection: Host, Authorization, X-Forwarded-For, Content-Length",
        [POST + nominating + b"X-Forwarded-For: 192.0.2.7\r\nContent-Length: 5\r\n\r\nhello"],
        watch=shown,
        check=every(
            arrives("host", "a.example"),
            arrives("authorization", "Bearer t"),
            arrives("x-forwarded-for", "127.0.0.1"),
            body_is(b"hello"),
        ),
    )
    yield Case(
        "Connection: Transfer-Encoding",
        [POST + b"Connection: Transfer-Encoding\r\n" + CHUNKED + END + HELLO],
        check=body_is(b"hello"),
    )
    hosted = ["x-forwarded-host"]
    absolute = [b"GET http://b.example:81/x HTTP/1.1\r\nHost: a.example\r\n\r\n"]
    yield Case("absolute-form, differing Host", absolute, check=arrives("host", "b.example:81"), watch=hosted)
    yield Case(
        "absolute-form with a user",
        [b"GET http://u:p@b.example/x HTTP/1.1\r\nHost: b.example\r\n\r\n"],
        watch=hosted,
        check=lambda seen: says(
            not any("@" in one.head.decode("latin-1") for one in seen.requests), "Host names a user"
        ),
    )
    yield Case("absolute-form without a path", [b"GET http://b.example?a HTTP/1.1\r\nHost: b.example\r\n\r\n"])
    yield Case(
        "absolute-form, OPTIONS without a path", [b"OPTIONS http://b.example HTTP/1.1\r\nHost: b.example\r\n\r\n"]
    )
    yield bad("authority-form with GET", b"GET b.example:80 HTTP/1.1\r\nHost: b.example:80\r\n\r\n")
    yield bad("no Host in HTTP/1.1", b"GET /x HTTP/1.1\r\n\r\n")
    yield bad("two Hosts", GET + b"Host: b.example\r\n\r\n", watch=hosted)
    yield bad("Host with a space and a slash", b"GET /x HTTP/1.1\r\nHost: a b/c\r\n\r\n", watch=hosted)
    yield bad("Host with a user", b"GET /x HTTP/1.1\r\nHost: u@a.example\r\n\r\n", watch=hosted)
    yield Case("empty Host", [b"GET /x HTTP/1.1\r\nHost:\r\n\r\n"], watch=hosted)
    yield bad("target with a space", b"GET /x y HTTP/1.1\r\nHost: a.example\r\n\r\n")
    yield Case("target with a fragment", [b"GET /x#y HTTP/1.1\r\nHost: a.example\r\n\r\n"])
    yield Case("target with bytes beyond ASCII", [b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a.example\r\n\r\n"])
    yield bad("target without a slash", b"GET x HTTP/1.1\r\nHost: a.example\r\n\r\n")
    yield Case(
        "target //b.example/x",
        [b"GET //b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n"],
        check=arrives("host", "a.example"),
    )
    yield Case("target /a/../x/%2e%2e/y", [b"GET /a/../x/%2e%2e/y HTTP/1.1\r\nHost: a.example\r\n\r\n"])
    yield bad("HTTP/0.9", b"GET /x\r\n")
    yield bad("HTTP/1.2", b"GET /x HTTP/1.2\r\nHost: a.example\r\n\r\n")
    yield bad("HTTP/3.0", b"GET /x HTTP/3.0\r\nHost: a.example\r\n\r\n")
    yield Case("empty lines before the request", [b"\r\n\r\n" + GET + END])
    yield Case("value with bytes beyond ASCII", [GET + b"X-A: \xe4\r\n\r\n"], watch=["x-a"])
    yield Case("head of 20 KiB", [GET + b"X-A: " + b"a" * 20480 + b"\r\n\r\n"])
    yield bad("head of 70 KiB", GET + b"X-A: " + b"a" * 71680 + b"\r\n\r\n")
    yield bad("target of 70 KiB", b"GET /" + b"a" * 71680 + b" HTTP/1.1\r\nHost: a.example\r\n\r\n")
    yield Case("90 headers", [GET + b"".join(b"X-%d: a\r\n" % number for number in range(90)) + END])
    yield Case("200 headers", [GET + b"".join(b"X-%d: a\r\n" % number for number in range(200)) + END])
    yield bad("slow head, a byte each 500 ms", *[step for byte in GET[:9] for step in (bytes([byte]), 0.5)])
    yield bad("nothing is sent", 3)
    yield Case("nothing is sent after a response", [GET + END, RESPONSE, 3])
    yield bad(
        "slow head after a response",
        NEXT,
        RESPONSE,
        *[step for byte in GET[:9] for step in (bytes([byte]), 0.5)],
        expected=2,
        most=1,
    )
    body = b"Content-Length: 5\r\n\r\nhello"
    yield Case(
        "Expect: 100-continue",
        [POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", CONTINUE, b"hello"],
        check=body_is(b"hello"),
    )
    yield Case(
        "Expect: 100-continue, the upstream answers it",
        [POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", CONTINUE, b"hello"],
        late_continue,
        check=body_is(b"hello"),
    )
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"
    yield Case(
        "Expect: 100-continue, the upstream refuses",
        [POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", 0.5],
        unread(refusal, close=False),
    )
    yield Case("Expect: something", [POST + b"Expect: something\r\n" + body])
    yield Case(
        "Expect: 100-continue in HTTP/1.0", [b"POST /x HTTP/1.0\r\nHost: a.example\r\nExpect: 100-continue\r\n" + body]
    )
    trailed = b"5\r\nhello\r\n0\r\nX-T: one\r\n\r\n"
    yield Case("request trailers", [POST + CHUNKED + b"Trailer: X-T\r\n\r\n" + trailed], check=body_is(b"hello"))
    yield Case("request trailers, not announced", [POST + CHUNKED + END + trailed], check=body_is(b"hello"))
    yield Case(
        "request trailers: Content-Length, Host, Authorization",
        [
            POST + CHUNKED + b"Trailer: Content-Length, Host, Authorization\r\n\r\n5\r\nhello\r\n0\r\n",
            b"Content-Length: 9\r\nHost: b\r\nAuthorization: t\r\n\r\n",
        ],
        check=lambda seen: says(
            not any(one.trailers for one in seen.requests), "trailers that may not be there went on"
        ),
    )
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    upgrade += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    yield Case("Upgrade: websocket", [GET + upgrade], websocket)
    yield Case(
        "Upgrade: h2c",
        [GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"],
        watch=["http2-settings"],
    )
    yield bad("CONNECT", b"CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n", methods=("CONNECT",))
    yield Case("TRACE", [b"TRACE /x HTTP/1.1\r\nHost: a.example\r\n\r\n"])
    yield Case("OPTIONS *", [b"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n"])
    yield Case(
        "OPTIONS with Max-Forwards: 0",
        [b"OPTIONS /x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\n\r\n"],
        watch=["max-forwards"],
    )
    yield Case("unknown method", [b"FROB /x HTTP/1.1\r\nHost: a.example\r\n\r\n"])
    yield Case("HTTP/1.0", [b"GET /x HTTP/1.0\r\n\r\n"], check=status_is(200))
    kept = b"GET /x HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n"
    yield Case("HTTP/1.0, keep-alive", [kept, RESPONSE, kept], expected=2)
    yield Case(
        "pipelined GETs",
        [GET + END + NEXT + GET + END],
        expected=3,
        check=lambda seen: says(
            [one.body for one in seen.responses] == [b"/x", b"/next", b"/x"], "the responses are not in order"
        ),
    )
    yield Case(
        "pipelined POST and GET",
        [POST + b"Content-Length: 5\r\n\r\nhello" + NEXT],
        expected=2,
        check=lambda seen: says(
            [one.body for one in seen.responses] == [b"/x", b"/next"], "the responses are not in order"
        ),
    )
    yield Case("two requests, one after the other", [GET + END, RESPONSE, NEXT], expected=2, check=next_is_its_own)


def answers():
    """What upstreams answer."""

    def to_get(name, head, body=b"", close=False, check=lambda seen: [], **more):
        answer = but_next(raw(OK + head + b"\r\n" + body, close))
        return Case(
            f"response: {name}",
            [GET + END, RESPONSE, NEXT],
            answer,
            expected=2,
            most=4,
            check=every(next_is_its_own, check),
            **more,
        )

    big = POST + b"Content-Length: 8388608\r\n\r\n"
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"
    for close, what in ((True, "closes"), (False, "stays")):
        yield Case(
            f"413 before the body, the upstream {what}; the client waits",
            [POST + b"Content-Length: 5\r\n\r\n", RESPONSE, b"hello", NEXT],
            but_next(unread(refusal, close)),
            expected=2,
            check=every(
                next_is_its_own,
                lambda seen: says(seen.responses and seen.responses[0].status == 413, "the client did not get 413"),
            ),
        )
    for close, what in ((True, "closes"), (False, "stays")):
        yield Case(
            f"413 before the body, the upstream {what}; the client stops for 8 s",
            [POST + b"Content-Length: 5\r\n\r\n", RESPONSE, 8],
            unread(refusal, close),
            check=closes_early,
        )
    yield Case(
        "413 before the body, the upstream closes; the client sends 8 MiB",
        [big, *[b"x" * 65536] * 128],
        unread(refusal, close=True),
        check=status_is(413, 502),
    )
    for body, what in ((b"Content-Length: 5\r\n\r\nhello", "CL"), (CHUNKED + END + HELLO, "chunked")):
        yield Case(
            f"upstream gone before its response to a POST, {what}",
            [POST + body],
            gone,
            most=1,
            check=every(sent_at_most(1), status_is(502)),
        )
        yield Case(
            f"upstream gone before its response to a POST on a kept connection, {what}",
            [NEXT, RESPONSE, POST + body],
            lambda exchange: echo(exchange) if exchange.number == 1 else gone(exchange),
            expected=2,
            most=2,
            check=status_is(502),
        )
    yield Case("upstream gone before its response to a GET", [GET + END], gone, most=3, check=status_is(502))
    yield Case(
        "upstream gone before its response to a GET on a kept connection",
        [NEXT, RESPONSE, GET + END],
        lambda exchange: echo(exchange) if exchange.number == 1 else gone(exchange),
        expected=2,
        most=4,
    )
    yield Case(
        "upstream gone before its response to a DELETE",
        [b"DELETE /x HTTP/1.1\r\nHost: a.example\r\n\r\n"],
        gone,
        check=sent_at_most(1),
    )
    yield Case(
        "upstream gone before its response to a GET with a body",
        [GET + b"Content-Length: 5\r\n\r\nhello"],
        gone,
        check=sent_at_most(1),
    )
    yield to_get("gone mid-body, CL", b"Content-Length: 10\r\n", b"hello", True, breaks_off)
    yield to_get("gone mid-body, chunked", CHUNKED, b"5\r\nhello\r\n", True, breaks_off)
    yield to_get("gone mid-chunk", CHUNKED, b"9\r\nhello", True, breaks_off)
    yield to_get("gone mid-trailer", CHUNKED, b"5\r\nhello\r\n0\r\nX-T: on", True, breaks_off)
    yield to_get("gone mid-head", b"Content-Len", b"", True)
    yield to_get("until the connection closes", b"", b"hello", True)
    yield to_get("CL and TE", b"Content-Length: 3\r\n" + CHUNKED, HELLO, check=is_hello_or_nothing)
    yield to_get("TE and CL", CHUNKED + b"Content-Length: 3\r\n", HELLO, check=is_hello_or_nothing)
    yield to_get("CL too large, and TE", b"Content-Length: 9\r\n" + CHUNKED, HELLO, check=is_hello_or_nothing)
    yield to_get("CL twice, differing", b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!", False, breaks_off)
    yield to_get("CL twice, equal", b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello")
    yield to_get("CL: +5", b"Content-Length: +5\r\n", b"hello", False, breaks_off)
    yield to_get("TE: xchunked", b"Transfer-Encoding: xchunked\r\n", HELLO, True)
    yield to_get("TE: gzip, chunked", b"Transfer-Encoding: gzip, chunked\r\n", HELLO, True)
    yield to_get("bad chunk size", CHUNKED, b"g\r\nhello\r\n0\r\n\r\n", False, breaks_off)
    yield to_get("chunk size overflows", CHUNKED, b"10000000000000005\r\nhello\r\n0\r\n\r\n", False, breaks_off)
    yield to_get("obs-fold", b"X-A: one\r\n two\r\nContent-Length: 2\r\n", b"ok", watch=["x-a"])
    yield to_get("space before a colon", b"Content-Length : 2\r\n", b"ok")
    yield to_get("NUL in a value", b"X-A: a\0b\r\nContent-Length: 2\r\n", b"ok", watch=["x-a"])
    yield to_get("bare LF line ends", b"X-A: one\nContent-Length: 2\n", b"ok", watch=["x-a"])
    yield to_get(
        "nominated header, and Upgrade",
        b"Connection: X-A\r\nX-A: one\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nContent-Length: 2\r\n",
        b"ok",
        watch=["x-a", "keep-alive"],
    )
    yield to_get("Connection nominates CL", b"Connection: Content-Length\r\nContent-Length: 2\r\n", b"ok")
    yield to_get(
        "Connection nominates Set-Cookie",
        b"Connection: Set-Cookie\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n",
        b"ok",
        watch=["set-cookie"],
    )
    yield to_get("head of 70 KiB", b"X-A: " + b"a" * 71680 + b"\r\nContent-Length: 2\r\n", b"ok")
    yield to_get(
        "200 headers", b"".join(b"X-%d: a\r\n" % number for number in range(200)) + b"Content-Length: 2\r\n", b"ok"
    )
    yield to_get("more than its length", b"Content-Length: 2\r\n", b"ok" + POISON)
    yield to_get("more after the last chunk", CHUNKED, b"2\r\nok\r\n0\r\n\r\n" + POISON)
    trailed = CHUNKED + b"Trailer: X-T\r\n\r\n5\r\nhello\r\n0\r\nX-T: one\r\n\r\n"
    yield Case("response trailers, TE: trailers", [GET + b"TE: trailers\r\nConnection: TE\r\n\r\n"], raw(OK + trailed))
    yield Case("response trailers, no TE", [GET + END], raw(OK + trailed))
    yield Case("chunked response to HTTP/1.0", [b"GET /x HTTP/1.0\r\n\r\n"], raw(OK + CHUNKED + END + HELLO))
    yield Case(
        "HEAD",
        [b"HEAD /x HTTP/1.1\r\nHost: a.example\r\n\r\n", RESPONSE, NEXT],
        expected=2,
        methods=("HEAD", "GET"),
        check=next_is_its_own,
    )
    yield Case(
        "HEAD, chunked response",
        [b"HEAD /x HTTP/1.1\r\nHost: a.example\r\n\r\n", RESPONSE, NEXT],
        but_next(raw(OK + CHUNKED + END)),
        expected=2,
        methods=("HEAD", "GET"),
        check=next_is_its_own,
    )
    yield Case(
        "HEAD answered with a body",
        [b"HEAD /x HTTP/1.1\r\nHost: a.example\r\n\r\n", RESPONSE, NEXT],
        but_next(raw(OK + b"Content-Length: 5\r\n\r\nhello")),
        expected=2,
        methods=("HEAD", "GET"),
        check=next_is_its_own,
    )
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    yield Case("103, then 200", [GET + END], raw(hint + TWO), check=status_is(200))
    yield Case("103, then 200, to HTTP/1.0", [b"GET /x HTTP/1.0\r\n\r\n"], raw(hint + TWO), check=status_is(200))
    yield Case(
        "100 unasked, twice, then 200",
        [GET + END],
        raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + TWO),
        check=status_is(200),
    )
    yield Case(
        "101 unasked",
        [GET + END],
        unasked_switch,
        check=lambda seen: says(not any(one.status == 101 for one in seen.responses), "the client was switched"),
    )
    for status in (b"204 No Content", b"304 Not Modified"):
        number = status[:3].decode()
        for head, body in (
            (b"Content-Length: 5\r\n", b"hello"),
            (b"Content-Length: 5\r\n", b""),
            (CHUNKED, b""),
            (b"", b"hello"),
        ):
            what = (
                head.split(b"\r\n")[0].decode() + (" and a body" if body else " only") if head else "a body"
            ).strip()
            yield Case(
                f"{number} with {what}",
                [GET + END, RESPONSE, NEXT],
                but_next(raw(b"HTTP/1.1 " + status + b"\r\n" + head + b"\r\n" + body)),
                expected=2,
                check=every(
                    next_is_its_own,
                    lambda seen: says(
                        not any(
                            one.status == 204
                            and (values(one.headers, "content-length") or values(one.headers, "transfer-encoding"))
                            for one in seen.responses
                        ),
                        "204 has a length",
                    ),
                ),
            )
    yield Case(
        "205 with a body",
        [GET + END, RESPONSE, NEXT],
        but_next(raw(b"HTTP/1.1 205 Reset Content\r\nContent-Length: 5\r\n\r\nhello")),
        expected=2,
        check=next_is_its_own,
    )
    yield Case(
        "response in HTTP/1.0, keep-alive",
        [GET + END, RESPONSE, NEXT],
        but_next(raw(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")),
        expected=2,
        check=next_is_its_own,
    )
    yield Case(
        "response in HTTP/1.0, keep-alive, then a chunked POST",
        [GET + END, RESPONSE, b"POST /next HTTP/1.1\r\nHost: a.example\r\n" + CHUNKED + END + HELLO],
        but_next(raw(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")),
        expected=2,
        check=lambda seen: says(
            any(one.body == b"hello" and one.end == "whole" for one in seen.requests), "the body did not arrive"
        ),
    )
    yield Case(
        "response in HTTP/1.0, chunked",
        [GET + END, RESPONSE, NEXT],
        but_next(raw(b"HTTP/1.0 200 OK\r\n" + CHUNKED + END + HELLO, True)),
        expected=2,
        most=4,
        check=next_is_its_own,
    )
    yield Case("response without HTTP", [GET + END], raw(b"hello\r\n\r\n", True), most=3)
    low = b"HTTP/1.1 99 X\r\nContent-Length: 2\r\n\r\nok"
    yield Case("response with status 99", [GET + END], raw(low, True), most=3)
    yield Case("response with status 600", [GET + END], raw(b"HTTP/1.1 600 X\r\nContent-Length: 2\r\n\r\nok", True))
    yield Case(
        "upstream sends nothing",
        [GET + END],
        lambda exchange: exchange.read() or time.sleep(4) or True,
        check=status_is(504),
        most=3,
    )
    yield Case("client gone while the upstream thinks", [GET + END, 0.1, CLOSE], thinks, expected=0)


def mistakes():
    """What clients must not be able to do to each other: have a node taken for a failing one."""
    yield blame("bad chunk size", [POST + CHUNKED + END + b"5\r\nhello\r\ng\r\n"])
    yield blame("client gone mid-body, CL", [POST + b"Content-Length: 10\r\n\r\nhello", 0.1, CLOSE])
    yield blame("client gone mid-body, chunked", [POST + CHUNKED + END + b"5\r\nhello\r\n", 0.1, CLOSE])
    yield blame("client half-closes mid-body", [POST + b"Content-Length: 10\r\n\r\nhello", HALF_CLOSE])
    yield blame("client stops mid-body", [POST + b"Content-Length: 10\r\n\r\nhello"])
    yield blame("client gone while the upstream thinks", [GET + END, 0.1, CLOSE], thinks)
    yield blame("client does not read", [b"GET /big HTTP/1.1\r\nHost: a.example\r\n\r\n", 0.1, CLOSE], much)
    http2_stops = http2_request(
        [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/x")], b"hello", is_whole=False
    )
    yield blame("HTTP/2: client resets mid-body", [http2_stops, 0.1, frame(RESET, 0, b"\0\0\0\x08"), 0.2, CLOSE])


def many():
    """What shows only now and then."""
    yield race(b"GET")
    yield race(b"POST")
    for when in (TOGETHER, LATER, MEANWHILE):
        for method, what, head in (
            (b"GET", "GET answered", TWO),
            (b"HEAD", "HEAD answered", OK + b"Content-Length: %d\r\n\r\n" % len(POISON)),
            (b"GET", "204", b"HTTP/1.1 204 No Content\r\n\r\n"),
            (b"GET", "304", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"),
        ):
            yield poison(b"%s /attack HTTP/1.1\r\nHost: a.example\r\n\r\n" % method, what, head, when)


def downgrades():
    """From HTTP/2 to HTTP/1.1."""
    yield http2("GET", [])
    yield http2("POST", [], b"hello", check=body_is(b"hello"))
    yield http2("POST with content-length", [(b"content-length", b"5")], b"hello", check=body_is(b"hello"))
    for name, headers, data in (
        ("content-length too small", [(b"content-length", b"0")], [SMUGGLED]),
        ("content-length too large", [(b"content-length", b"9")], [b"hello"]),
        ("content-length: +5", [(b"content-length", b"+5")], [b"hello"]),
        ("content-length twice, differing", [(b"content-length", b"5"), (b"content-length", b"6")], [b"hello"]),
        ("transfer-encoding", [(b"transfer-encoding", b"chunked")], [b"0\r\n\r\n" + SMUGGLED]),
        ("connection", [(b"connection", b"x-a"), (b"x-a", b"one")], []),
        ("CRLF in a value", [(b"x-a", b"one\r\ntransfer-encoding: chunked")], [b"0\r\n\r\n" + SMUGGLED]),
        ("LF in a value", [(b"x-a", b"one\nx-b: two")], []),
        ("CRLF in a name", [(b"x-a: one\r\nx-b", b"two")], []),
        ("colon in a name", [(b"x-a:", b"one")], []),
        ("capitals in a name", [(b"X-A", b"one")], []),
        ("space in :path", [(b":path", b"/x HTTP/1.1\r\nx-a: one\r\n\r\nGET /smuggled")], []),
        ("space in :method", [(b":method", b"GET /smuggled HTTP/1.1\r\nx:")], []),
        ("empty :path", [(b":path", b"")], []),
        (":path without a slash", [(b":path", b"x")], []),
        ("CRLF in :authority", [(b":authority", b"a.example\r\nx-a: one")], []),
    ):
        yield http2(name, headers, *data, refused=True)
    yield http2(
        "user in :authority",
        [(b":authority", b"u@a.example")],
        check=lambda seen: says(
            not any("@" in one.head.decode("latin-1") for one in seen.requests), "Host names a user"
        ),
    )
    yield http2("host differs from :authority", [(b"host", b"b.example")], check=arrives("host", "a.example"))
    yield http2(
        "many cookies",
        [(b"cookie", b"a=1"), (b"cookie", b"b=2")],
        watch=["cookie"],
        check=arrives("cookie", "a=1; b=2"),
    )
    yield http2("te: trailers", [(b"te", b"trailers")])
    yield http2("te: gzip", [(b"te", b"gzip")])

    def nothing_more(proxy, upstream, watch):
        client = Client(proxy.http2_port)
        client.take([greeting(), 3])
        ended = client.ended
        client.close()
        return upstream.settle(), ended or "open"

    yield Case("HTTP/2: nothing after the preface for 3 s", [], run=nothing_more, http2=True)


def cases():
    yield from requests()
    yield from heads()
    yield from answers()
    yield from mistakes()
    yield from many()
    yield from downgrades()
