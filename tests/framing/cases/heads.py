"""What clients send: targets, hosts, and headers that concern one connection."""

from case import (
    CHUNKED,
    END,
    GET,
    HELLO,
    NEXT,
    POST,
    Case,
    arrives,
    bad,
    body_is,
    every,
    late_continue,
    next_is_its_own,
    says,
    status_is,
    unread,
    websocket,
)
from wire import CONTINUE, RESPONSE, values


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
        max_requests=1,
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
