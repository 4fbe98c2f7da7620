"""Many clients at once, and many that make one mistake."""

from case import (
    CHUNKED,
    END,
    GET,
    OK,
    POISON,
    POST,
    TWO,
    much,
    thinks,
)
from conversations import LATER, MEANWHILE, TOGETHER, blame, poison, race
from wire import CLOSE, HALF_CLOSE

from bench.lib.http2_frames import RESET, frame, http2_request


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
