//! Kinds of HTTP/1.1 connections.

mod bodies;
mod heads;

use super::{
    generator::Kind,
    script::{Draft, Reading},
};

pub const KINDS: &[Kind] = &[
    ("1 requests one after the other", requests),
    ("1 requests pipelined", pipelined),
    ("1 silence", silence),
    ("1 noise", noise),
    ("1 head cut", head_cut),
    ("1 head byte by byte", slow_head),
    ("1 documents read slowly", documents),
    ("1 half-close after a request", half_close),
    ("1 upgrade", upgrade),
    ("1 head too large", heads::too_large),
    ("1 too many headers", heads::too_many),
    ("1 bad line", heads::bad_line),
    ("1 bad header", heads::bad_header),
    ("1 strange target", heads::target),
    ("1 contradicting lengths", heads::lengths),
    ("1 body cut", bodies::cut),
    ("1 body byte by byte", bodies::slow),
    ("1 body of another length", bodies::another_length),
    ("1 oversized body", bodies::unwanted),
    ("1 chunks", bodies::chunked),
    ("1 bad chunk", bodies::bad_chunk),
    ("1 chunks that don't end", bodies::endless_chunks),
    ("1 expect-continue", bodies::expect_continue),
    ("1 odd JSON", bodies::odd_json),
];

fn requests(draft: &mut Draft<'_>) {
    for _ in 0..draft.rng.u8(1..=5) {
        let request = draft.request();
        draft.send(request.whole());
        draft.await_answer();
    }
}

fn pipelined(draft: &mut Draft<'_>) {
    let requests: Vec<Vec<u8>> = (0..draft.rng.usize(2..=64)).map(|_| draft.request().whole()).collect();
    draft.send(requests.concat());
    draft.await_answer();
}

/// A connection that sends hardly anything.
fn silence(draft: &mut Draft<'_>) {
    let sent: &[u8] = draft.choice(&[b"".as_slice(), b"\r\n", b"\r\n\r\n\r\n", b"G", b"\0"]);
    draft.send(sent);
    draft.pause(2500);
}

fn noise(draft: &mut Draft<'_>) {
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let start: &[u8] = draft.choice(&[b"".as_slice(), tls, b"GET ", b"POST / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n"]);
    let noise = draft.noise(4000);
    draft.send([start, &noise].concat());
}

fn head_cut(draft: &mut Draft<'_>) {
    let mut head = draft.request().head("");
    head.truncate(draft.rng.usize(1..head.len()));
    draft.send(head);
    draft.pause(2500);
}

fn slow_head(draft: &mut Draft<'_>) {
    let head = draft.request().head("");
    let pause = draft.rng.u64(1..=100);
    draft.trickle(head, 1, pause);
}

fn documents(draft: &mut Draft<'_>) {
    draft.reading = draft.choice(&[Reading::Slowly, Reading::Nothing]);
    let requests: Vec<Vec<u8>> = (0..draft.rng.usize(1..=20)).map(|_| draft.download().whole()).collect();
    draft.send(requests.concat());
    draft.pause(2500);
}

fn half_close(draft: &mut Draft<'_>) {
    let request = draft.request();
    let cut = draft.rng.bool();
    let mut bytes = request.whole();
    if cut {
        bytes.truncate(draft.rng.usize(1..bytes.len()));
    }
    draft.send(bytes);
    draft.half_close();
    draft.pause(500);
}

fn upgrade(draft: &mut Draft<'_>) {
    let lines = [
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        "connection: upgrade\r\nupgrade: a, b, c/9\r\n",
        "connection: host, authorization, content-length, te\r\nte: trailers\r\n",
    ];
    let lines = draft.choice(&lines);
    let mut request = draft.request();
    if draft.rng.u8(..4) == 0 {
        (request.method, request.path) = ("CONNECT", "example.com:80".to_owned());
    }
    draft.send(request.head(lines));
    draft.await_answer();
    let noise = draft.noise(200);
    draft.send(noise);
}
