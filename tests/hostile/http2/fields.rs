//! Header blocks of HTTP/2: invalid fields, and invalid or expanding compression.

use super::streams;
use crate::hostile::{
    frames::{self, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING},
    generator::Kind,
    script::Draft,
};

pub const KINDS: &[Kind] = &[
    ("2 head without end", without_end),
    ("2 invalid compression", invalid_compression),
    ("2 fields that expand", bomb),
    ("2 invalid field", wrong_field),
    ("2 fields too large", too_large),
    ("2 trailers", trailers),
];

/// A header block that is interrupted by another frame, or ends.
fn without_end(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let fields = frames::packed(&draft.request().fields());
    let cut = draft.rng.usize(..fields.len());
    draft.send(frames::frame(HEADERS, 0, 1, &fields[..cut]));
    let next = match draft.rng.u8(..4) {
        0 => frames::frame(PING, 0, 0, &[0; 8]),
        1 => frames::frame(CONTINUATION, END_HEADERS, 3, &fields[cut..]),
        2 => frames::frame(HEADERS, END_HEADERS, 1, &fields[cut..]),
        _ => Vec::new(),
    };
    draft.send(next);
    draft.pause(2500);
}

fn invalid_compression(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let blocks: [&[u8]; 8] = [
        // Index 0, an index beyond the table, an endless integer, a length beyond the block, invalid Huffman code, an
        // oversized table, a table size update after a field, and an empty field name.
        &[0x80],
        &[0xff, 0xff, 0x7f],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x00, 0x7f, 0xff, 0xff, 0x03, b'a'],
        &[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x01, b'a'],
        &[0x3f, 0xff, 0xff, 0xff, 0x7f],
        &[0x82, 0x20, 0x84],
        &[0x40, 0x00, 0x00],
    ];
    let block = draft.choice(&blocks);
    let fields = frames::packed(&draft.request().fields());
    draft.send(frames::frame(HEADERS, END_HEADERS | END_STREAM, 1, &[&fields, block].concat()));
    draft.await_answer();
    draft.send(frames::frame(HEADERS, END_HEADERS | END_STREAM, 3, &fields));
    draft.await_answer();
}

/// Many references to one large table entry.
fn bomb(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let fields = frames::packed(&draft.request().fields());
    let value = "v".repeat(draft.rng.usize(100..4000));
    let entry = [vec![0x40, 1, b'x'], frames::integer(value.len(), 7), value.into_bytes()].concat();
    let count = draft.rng.usize(100..8000);
    let block = [fields, entry, vec![0x80 | 62; count]].concat();
    let mut pieces = block.chunks(16_000).enumerate().peekable();
    let mut sent = Vec::new();
    while let Some((number, piece)) = pieces.next() {
        let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        let (kind, flags) = if number == 0 { (HEADERS, END_STREAM | end) } else { (CONTINUATION, end) };
        sent.extend(frames::frame(kind, flags, 1, piece));
    }
    draft.send(sent);
    draft.await_answer();
}

fn wrong_field(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    for stream in streams(draft.rng.u32(1..=8)) {
        let mut fields = draft.request().fields();
        let wrong = [
            ("X-Upper", "a"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip"),
            ("host", "other"),
            (":path", "/"),
            (":status", "200"),
            (":unknown", "a"),
            ("", "a"),
            ("x-a", "a\r\nx-b: c"),
            ("x-a", " a "),
            ("x a", "a"),
            ("upgrade", "h2c"),
        ];
        let (name, value) = draft.choice(&wrong);
        let at = draft.rng.usize(..=fields.len());
        fields.insert(at, (name.to_owned(), value.to_owned()));
        if draft.rng.u8(..4) == 0 {
            fields.remove(draft.rng.usize(..4));
        }
        draft.send(frames::frame(HEADERS, END_HEADERS | END_STREAM, stream, &frames::packed(&fields)));
    }
    draft.await_answer();
}

fn too_large(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let mut fields = draft.request().fields();
    let (count, length) = draft.choice(&[(1, 15_000), (200, 10), (1000, 8), (3, 5000)]);
    fields.extend((0..count).map(|number| (format!("x-{number}"), "v".repeat(length))));
    let block = frames::packed(&fields);
    let first = block.len().min(16_000);
    let end = if first == block.len() { END_HEADERS } else { 0 };
    draft.send(frames::frame(HEADERS, END_STREAM | end, 1, &block[..first]));
    if end == 0 {
        draft.send(frames::frame(CONTINUATION, END_HEADERS, 1, &block[first..block.len().min(first + 16_000)]));
    }
    draft.await_answer();
}

/// Valid trailers, trailers that do not end the stream, and a second head.
fn trailers(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let request = draft.upload();
    let head = frames::packed(&request.fields());
    draft.send(frames::frame(HEADERS, END_HEADERS, 1, &head));
    draft.send(frames::frame(DATA, 0, 1, &request.body));
    let fields = frames::packed(&[("x-trailer".to_owned(), "a".to_owned())]);
    let count = draft.rng.u16(1..100);
    let (block, flags) =
        draft.choice(&[(&fields, END_HEADERS | END_STREAM), (&fields, END_HEADERS), (&head, END_HEADERS | END_STREAM)]);
    let all = frames::frame(HEADERS, flags, 1, block).repeat(usize::from(count));
    draft.send(all);
    draft.await_answer();
}
