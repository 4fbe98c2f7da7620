"""What clients send: bodies and their framing."""

from case import (
    CHUNKED,
    END,
    GET,
    HELLO,
    POST,
    SMUGGLED,
    Case,
    bad,
    body_is,
    closes,
    says,
    status_is,
)
from wire import CLOSE, HALF_CLOSE, values


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
                request.end == "whole" and values(request.headers, "transfer-encoding")[:1] != ["gzip, chunked"]
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
