//! Invalid frames.

use super::request_frames;
use crate::hostile::{
    frames::{self, DATA, END_HEADERS, HEADERS, PADDED, PUSH_PROMISE, SETTINGS},
    generator::Kind,
    script::Draft,
};

pub const KINDS: &[Kind] = &[
    ("2 frame of a wrong size", wrong_size),
    ("2 invalid settings", wrong_settings),
    ("2 invalid padding", wrong_padding),
    ("2 frame that clients don't send", pushed),
    ("2 frame cut", cut),
    ("2 noise", noise),
];

fn wrong_size(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let request = draft.request();
    draft.send(request_frames(1, &request));
    let claimed = draft.choice(&[0, 1, 3, 4, 5, 7, 9, 16_384, 16_385, 0xff_ffff]);
    let sent = vec![0; claimed.min(draft.rng.usize(..20_000))];
    let (kind, stream) = (draft.rng.u8(..10), draft.choice(&[0, 1, 3]));
    draft.send(frames::claiming(claimed, kind, 0, stream, &sent));
    draft.pause(2500);
}

fn wrong_settings(draft: &mut Draft<'_>) {
    let wrong =
        [(2, 2), (4, 0x8000_0000), (5, 0), (5, 0xffff_ffff), (1, 0xffff_ffff), (3, 0), (6, 0), (8, 7), (0xffff, 1)];
    let setting = draft.choice(&wrong);
    draft.greet(&[setting]);
    let (stream, length) = draft.choice(&[(0, 5), (1, 6), (0, 7), (0, 0)]);
    let flags = draft.rng.u8(..2);
    draft.send(frames::frame(SETTINGS, flags, stream, &vec![0; length]));
    let request = draft.request();
    draft.send(request_frames(1, &request));
    draft.await_answer();
}

fn wrong_padding(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let request = draft.upload();
    let block = frames::packed(&request.fields());
    let padding = draft.choice(&[0, 1, 255]);
    if draft.rng.bool() {
        draft.send(frames::frame(HEADERS, PADDED | END_HEADERS, 1, &[&[padding], block.as_slice()].concat()));
    } else {
        draft.send(frames::frame(HEADERS, END_HEADERS, 1, &block));
        draft.send(frames::frame(DATA, PADDED, 1, &[padding, 1, 2, 3]));
        draft.send(frames::frame(DATA, PADDED, 1, b""));
    }
    draft.await_answer();
}

fn pushed(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let block = frames::packed(&draft.request().fields());
    let (stream, promised) = (draft.choice(&[0, 1, 2]), draft.choice(&[0_u32, 2, 3]));
    draft.send(frames::frame(PUSH_PROMISE, END_HEADERS, stream, &[&promised.to_be_bytes(), block.as_slice()].concat()));
    draft.await_answer();
}

fn cut(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let mut frames = request_frames(1, &draft.request());
    frames.truncate(draft.rng.usize(1..frames.len()));
    draft.send(frames);
    draft.pause(2500);
}

fn noise(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    for _ in 0..draft.rng.u8(1..30) {
        let payload = draft.noise(200);
        let (kind, flags, stream) = (draft.rng.u8(..11), draft.rng.u8(..), draft.rng.u32(..8));
        draft.send(frames::frame(kind, flags, stream, &payload));
    }
    draft.await_answer();
}
