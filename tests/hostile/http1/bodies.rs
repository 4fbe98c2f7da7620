//! Bodies of HTTP/1.1 requests.

use crate::hostile::{requests::Request, script::Draft};

/// A head with a content length.
fn head_of(request: &Request, length: usize) -> Vec<u8> {
    request.head(&format!("content-length: {length}\r\n"))
}

pub fn cut(draft: &mut Draft<'_>) {
    let request = draft.upload();
    let mut body = request.body.clone();
    body.truncate(draft.rng.usize(..body.len()));
    draft.send([head_of(&request, request.body.len()), body].concat());
    draft.pause(2500);
}

pub fn slow(draft: &mut Draft<'_>) {
    let request = draft.upload();
    let pause = draft.rng.u64(1..=100);
    draft.send(head_of(&request, request.body.len()));
    draft.trickle(request.body, 1, pause);
    draft.await_answer();
}

pub fn another_length(draft: &mut Draft<'_>) {
    let request = draft.upload();
    let length = match draft.rng.u8(..3) {
        0 => draft.rng.usize(..request.body.len()),
        1 => request.body.len() + draft.rng.usize(1..100),
        _ => draft.rng.usize(60_000..100_000_000),
    };
    draft.send([head_of(&request, length), request.body].concat());
    draft.await_answer();
}

/// More than the limit, to an endpoint that may refuse the request before it reads the body.
pub fn unwanted(draft: &mut Draft<'_>) {
    let mut request = draft.upload();
    if draft.rng.bool() {
        request.headers.retain(|(name, _)| name != "authorization");
    }
    let length = draft.rng.usize(60_000..3_000_000);
    draft.send(head_of(&request, length));
    let sent = length.min(draft.rng.usize(1..3_000_000));
    draft.send(vec![b' '; sent]);
    draft.await_answer();
}

fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

pub fn chunked(draft: &mut Draft<'_>) {
    let request = draft.upload();
    let size = draft.rng.usize(1..=50);
    let mut bytes: Vec<u8> = request.body.chunks(size).flat_map(chunk).collect();
    let end: &[u8] =
        draft.choice(&[b"0\r\n\r\n".as_slice(), b"0\r\nx-trailer: a\r\n\r\n", b"0;ext=1\r\n\r\n", b"0\r\n", b""]);
    bytes.extend(end);
    if draft.rng.bool() {
        bytes.truncate(draft.rng.usize(1..=bytes.len()));
    }
    draft.send([request.head("transfer-encoding: chunked\r\n"), bytes].concat());
    draft.await_answer();
}

pub fn bad_chunk(draft: &mut Draft<'_>) {
    let sizes = [
        "-1",
        "0x5",
        "ffffffffffffffff",
        "fffffffffffffffff",
        "5 ",
        " 5",
        "",
        "g",
        "5;",
        "5;a=\"\n\"",
        "0000000000000000005",
    ];
    let size = draft.choice(&sizes);
    let line_end = draft.choice(&["\r\n", "\n", "\r", ""]);
    let head = draft.upload().head("transfer-encoding: chunked\r\n");
    let chunk = format!("{size}{line_end}hello{line_end}0\r\n\r\n");
    draft.send([head, chunk.into_bytes()].concat());
    draft.await_answer();
}

/// Many chunks of a byte, a long extension, or many trailers.
pub fn endless_chunks(draft: &mut Draft<'_>) {
    let head = draft.upload().head("transfer-encoding: chunked\r\n");
    let count = draft.rng.usize(100..20_000);
    let rest = match draft.rng.u8(..3) {
        0 => "1\r\n \r\n".repeat(count),
        1 => format!("1;{}", "a=b;".repeat(count)),
        _ => format!("0\r\n{}", "x-trailer: a\r\n".repeat(count)),
    };
    draft.send(head);
    draft.trickle(rest, 8000, 10);
    draft.await_answer();
}

pub fn expect_continue(draft: &mut Draft<'_>) {
    let request = draft.upload();
    let expected = draft.choice(&["100-continue", "200-ok", "100-continue, 100-continue"]);
    draft.send(request.head(&format!("expect: {expected}\r\ncontent-length: {}\r\n", request.body.len())));
    draft.await_answer();
    if draft.rng.bool() {
        draft.send(request.body);
        draft.await_answer();
    }
}

pub fn odd_json(draft: &mut Draft<'_>) {
    let count = draft.rng.usize(1..30_000);
    let body = match draft.rng.u8(..6) {
        0 => "[".repeat(count),
        1 => format!("{}1{}", "{\"a\":".repeat(count / 5), "}".repeat(count / 5)),
        2 => format!("{{\"login_name\":\"a\",\"login_name\":\"{}\"}}", "b".repeat(count)),
        3 => format!("{{\"a\":1e{count}}}"),
        4 => format!("{{\"a\":{}}}", "9".repeat(count)),
        _ => format!("{{\"password\":\"{}\",\"login_name\":\"\\ud800\"}}", "\u{0}".repeat(count.min(300))),
    };
    let mut request = draft.upload();
    request.body = body.into_bytes();
    draft.send(request.whole());
    draft.await_answer();
}
