"""What upstreams answer."""

import time

from case import (
    CHUNKED,
    END,
    GET,
    HELLO,
    NEXT,
    OK,
    POISON,
    POST,
    TWO,
    Case,
    breaks_off,
    but_next,
    closes_early,
    every,
    gone,
    is_hello_or_nothing,
    next_is_its_own,
    raw,
    says,
    sent_at_most,
    status_is,
    thinks,
    unasked_switch,
    unread,
)
from wire import CLOSE, RESPONSE, echo, values


def answers():
    """What upstreams answer."""

    def to_get(name, head, body=b"", close=False, check=lambda seen: [], **more):
        answer = but_next(raw(OK + head + b"\r\n" + body, close))
        return Case(
            f"response: {name}",
            [GET + END, RESPONSE, NEXT],
            answer,
            expected=2,
            max_requests=4,
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
            max_requests=1,
            check=every(sent_at_most(1), status_is(502)),
        )
        yield Case(
            f"upstream gone before its response to a POST on a kept connection, {what}",
            [NEXT, RESPONSE, POST + body],
            lambda exchange: echo(exchange) if exchange.number == 1 else gone(exchange),
            expected=2,
            max_requests=2,
            check=status_is(502),
        )
    yield Case("upstream gone before its response to a GET", [GET + END], gone, max_requests=3, check=status_is(502))
    yield Case(
        "upstream gone before its response to a GET on a kept connection",
        [NEXT, RESPONSE, GET + END],
        lambda exchange: echo(exchange) if exchange.number == 1 else gone(exchange),
        expected=2,
        max_requests=4,
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
        max_requests=4,
        check=next_is_its_own,
    )
    yield Case("response without HTTP", [GET + END], raw(b"hello\r\n\r\n", True), max_requests=3)
    low = b"HTTP/1.1 99 X\r\nContent-Length: 2\r\n\r\nok"
    yield Case("response with status 99", [GET + END], raw(low, True), max_requests=3)
    yield Case("response with status 600", [GET + END], raw(b"HTTP/1.1 600 X\r\nContent-Length: 2\r\n\r\nok", True))
    yield Case(
        "upstream sends nothing",
        [GET + END],
        lambda exchange: exchange.read() or time.sleep(4) or True,
        check=status_is(504),
        max_requests=3,
    )
    yield Case("client gone while the upstream thinks", [GET + END, 0.1, CLOSE], thinks, expected=0)
