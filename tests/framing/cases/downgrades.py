"""HTTP/2 that becomes HTTP/1.1."""

from case import (
    SMUGGLED,
    Case,
    arrives,
    body_is,
    says,
)
from conversations import http2
from wire import Client

from bench.lib.http2_frames import greeting


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
