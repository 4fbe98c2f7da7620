"""Observation of a case, and what must hold in every case."""

import re
import time

from case import Seen
from wire import Client, responses, values


def plain(text, proxy, upstream):
    """The text without ports, which differ from run to run."""
    return text.replace(f"127.0.0.1:{upstream.port}", "(upstream)").replace(f"127.0.0.1:{proxy.port}", "(proxy)")


def observe(case, proxy, upstream):
    """Runs the case; returns what was seen, and the case's own broken promises."""
    upstream.begin(case.answer)
    time.sleep(0.05)
    if case.run and not case.http2:
        reached, got, broken = case.run(proxy, upstream)
        return Seen([], [], None, b"", reached, got), broken
    if case.http2:
        requests, got = case.run(proxy, upstream, case.watch)
        found, stray, ended = [], b"", None
    else:
        client = Client(proxy.port, case.methods)
        has_left = client.take(case.steps)
        if not has_left:
            client.rest(case.expected)
        requests = upstream.settle()
        got, ended = "left" if has_left else client.text(case.watch), client.ended
        found, stray = responses(client.received, case.methods, ended == "closed")
        client.close()
    reached = " + ".join(request.text(case.watch) for request in requests) or "nothing"
    return Seen(requests, found, ended, stray, plain(reached, proxy, upstream), plain(got, proxy, upstream)), []


def shared_promises(case, seen):
    """The broken promises of those that hold for every case, as sentences."""
    max_requests = case.expected if case.max_requests is None else case.max_requests
    if len(seen.requests) > max(max_requests, 1):
        yield f"{len(seen.requests)} requests reached the upstream"
    for request in seen.requests:
        lengths, codings = values(request.headers, "content-length"), values(request.headers, "transfer-encoding")
        if lengths and codings:
            yield "both Content-Length and Transfer-Encoding went on"
        if len(lengths) > 1 or not all(re.fullmatch(r"\d+", length) for length in lengths):
            yield f"Content-Length {lengths} went on"
        if codings not in ([], ["chunked"]):
            yield f"Transfer-Encoding {codings} went on"
        if len(values(request.headers, "host")) != 1:
            yield "a request without exactly one Host went on"
        if re.search(rb"\0|\r|\n", request.head.replace(b"\r\n", b"")):
            yield "a control character went on in a head"
        if values(request.headers, "te") and "te" not in ", ".join(values(request.headers, "connection")).lower():
            yield "TE went on without Connection: TE"
        if request.path == "/smuggled":
            yield "a smuggled request reached the upstream"
        if request.end == "misframed":
            yield "a body was framed wrongly"
    posts = [request for request in seen.requests if request.line.startswith("POST ")]
    if len(posts) > 1 and not case.http2:
        yield "a POST was sent twice"
    for response in seen.responses:
        lengths, codings = values(response.headers, "content-length"), values(response.headers, "transfer-encoding")
        if len(lengths) + len(codings) > 1:
            yield "a response gives its length twice"
    if seen.stray:
        yield "more came than the responses"
    if case.refused:
        whole = [request for request in seen.requests if request.end == "whole" and request.path != "/next"]
        if whole:
            yield "it should be refused, and went on"
