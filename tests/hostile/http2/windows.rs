//! Flow control: clients with closed or tiny windows, and invalid window updates.

use super::{request_frames, streams};
use crate::hostile::{
    frames::{self, DATA, END_HEADERS, HEADERS, INITIAL_WINDOW_SIZE},
    generator::Kind,
    script::{Draft, Reading},
};

pub const KINDS: &[Kind] = &[
    ("2 window of 0", closed),
    ("2 window of a few bytes", tiny),
    ("2 window that opens and closes", toggled),
    ("2 window opened byte by byte", dripped),
    ("2 invalid window update", wrong_update),
    ("2 unread documents", unread),
    ("2 data beyond the window", beyond),
];

/// Requests, most of them for large documents, on streams with this window.
fn stalled(draft: &mut Draft<'_>, window: u32) -> u32 {
    draft.greet(&[(INITIAL_WINDOW_SIZE, window)]);
    let count = draft.rng.u32(1..=60);
    draft.send_each(count, |draft, stream| {
        let request = if draft.rng.u8(..3) == 0 { draft.request() } else { draft.download() };
        request_frames(stream, &request)
    });
    draft.await_answer();
    count
}

fn closed(draft: &mut Draft<'_>) {
    stalled(draft, 0);
    draft.pause(2500);
}

fn tiny(draft: &mut Draft<'_>) {
    let window = draft.rng.u32(1..200);
    stalled(draft, window);
    draft.pause(2500);
}

fn toggled(draft: &mut Draft<'_>) {
    stalled(draft, 0);
    for _ in 0..draft.rng.u16(2..300) {
        let window = draft.choice(&[0, 0, 1, 100, 65_535, 0x7fff_ffff]);
        draft.send(frames::settings(&[(INITIAL_WINDOW_SIZE, window)]));
    }
    draft.pause(500);
}

fn dripped(draft: &mut Draft<'_>) {
    let count = stalled(draft, 0);
    for _ in 0..draft.rng.u16(1..100) {
        draft.send_each(count, |_, stream| frames::window_update(stream, 1));
        draft.pause(20);
    }
}

fn wrong_update(draft: &mut Draft<'_>) {
    let count = stalled(draft, 100);
    for _ in 0..draft.rng.u8(1..=4) {
        let stream = draft.choice(&[0, 0, 1, 3, count * 2 + 1, 2, 0x7fff_ffff]);
        let increment = draft.choice(&[0, 1, 0x7fff_ffff, 0x7fff_ffff, 0x8000_0000, u32::MAX]);
        draft.send(frames::window_update(stream, increment));
    }
    draft.await_answer();
}

/// The windows have their largest size, but the client does not read.
fn unread(draft: &mut Draft<'_>) {
    draft.reading = Reading::Nothing;
    draft.greet(&[(INITIAL_WINDOW_SIZE, 0x7fff_ffff)]);
    draft.send(frames::window_update(0, 0x7fff_0000));
    let count = draft.rng.u32(1..=60);
    draft.send_each(count, |draft, stream| request_frames(stream, &draft.download()));
    draft.pause(2500);
}

fn beyond(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let count = draft.rng.u32(1..=12);
    let uploads: Vec<Vec<u8>> = streams(count)
        .map(|stream| frames::frame(HEADERS, END_HEADERS, stream, &frames::packed(&draft.upload().fields())))
        .collect();
    draft.send(uploads.concat());
    let piece = vec![b' '; draft.choice(&[0, 1, 16_384])];
    for _ in 0..draft.rng.u16(1..80) {
        let stream = 2 * draft.rng.u32(..count) + 1;
        draft.send(frames::frame(DATA, 0, stream, &piece));
    }
    draft.await_answer();
}
