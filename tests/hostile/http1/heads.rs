//! Oversized and invalid heads of HTTP/1.1 requests.

use crate::hostile::script::Draft;

pub fn too_large(draft: &mut Draft<'_>) {
    let length = draft.rng.usize(1000..200_000);
    let filler = "x".repeat(length);
    let head = match draft.rng.u8(..3) {
        0 => format!("GET /{filler} HTTP/1.1\r\nhost: h\r\n\r\n").into_bytes(),
        1 => draft.request().head(&format!("x-filler: {filler}\r\n")),
        _ => format!("GET / HTTP/1.1\r\nhost: h\r\n{filler}: a\r\n\r\n").into_bytes(),
    };
    if draft.rng.bool() {
        draft.send(head);
    } else {
        draft.trickle(head, 8000, 20);
    }
    draft.await_answer();
}

pub fn too_many(draft: &mut Draft<'_>) {
    let lines: String = (0..draft.rng.u16(80..3000)).map(|number| format!("x-{number}: {number}\r\n")).collect();
    let head = draft.request().head(&lines);
    draft.send(head);
    draft.await_answer();
}

pub fn bad_line(draft: &mut Draft<'_>) {
    let lines = [
        "GET /v1/session HTTP/1.1\n",
        "GET  /v1/session  HTTP/1.1\r\n",
        "GET /v1/session\r\n",
        "GET /v1/session HTTP/9.9\r\n",
        "GET /v1/session HTTP/1.0\r\n",
        "GET /v1/session HTTP/1.1 more\r\n",
        "G\0T /v1/session HTTP/1.1\r\n",
        "GET /v1/\u{7f}session HTTP/1.1\r\n",
        "get /v1/session http/1.1\r\n",
        " GET /v1/session HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "BREW /v1/session HTTP/1.1\r\n",
    ];
    let line = draft.choice(&lines);
    draft.send(format!("{line}host: h\r\n\r\n"));
    draft.await_answer();
}

pub fn bad_header(draft: &mut Draft<'_>) {
    let lines = [
        "x-a: b\n",
        "x-a : b\r\n",
        "x-a: b\r\n folded\r\n",
        "x-\0: b\r\n",
        "x-a: \0\r\n",
        "x-a\r\n",
        ": b\r\n",
        "host: other\r\n",
        "x-a: b\rx-b: c\r\n",
        "authorization: Bearer \u{ff}\u{fe}\r\n",
        "cookie: __Host-symbolon=; __Host-symbolon=a\r\n",
        "x-forwarded-for: 127.0.0.2, 127.0.0.2\r\n",
        "if-match: \"\"\"\r\nif-none-match: *\r\n",
        "x-request-id: {}\r\nx-request-id: a\r\n",
        "accept-encoding: gzip;q=9, *;q=-1\r\nrange: bytes=0-0,1-1,2-2,-5\r\n",
    ];
    let line = draft.choice(&lines);
    let request = draft.request();
    draft.send(request.head(line));
    draft.await_answer();
}

pub fn target(draft: &mut Draft<'_>) {
    let targets = [
        "*",
        "http://example.com/v1/session",
        "//v1//session",
        "/v1/../v1/./session",
        "/v1/users/%00",
        "/v1/users/%ff%fe",
        "/v1/users/%",
        "/v1/session?max_age=-1&max_age=99999999999999999999",
        "/v1/operator/users?login_name=%F0%9F%92%A9&limit=0",
        "/docs/../../etc/passwd",
        "/docs/%2e%2e%2f",
        "/v1/session#fragment",
        "?",
        "h:99999",
    ];
    let mut request = draft.request();
    draft.choice(&targets).clone_into(&mut request.path);
    draft.send(request.whole());
    draft.await_answer();
}

pub fn lengths(draft: &mut Draft<'_>) {
    let lines = [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 5\r\n",
        "content-length: -1\r\n",
        "content-length: +5\r\n",
        "content-length: 0x5\r\n",
        "content-length: \r\n",
        "content-length: 99999999999999999999999\r\n",
        "content-length: 18446744073709551615\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding:\x0bchunked\r\n",
    ];
    let line = draft.choice(&lines);
    let head = draft.upload().head(line);
    let rest: &[u8] = draft.choice(&[b"0\r\n\r\n".as_slice(), b"5\r\nhello\r\n0\r\n\r\n", b"hello"]);
    let smuggled = draft.request().whole();
    draft.send([&head, rest, &smuggled].concat());
    draft.await_answer();
}
