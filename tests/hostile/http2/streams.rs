//! Many streams, incomplete ones, and frames on invalid ones.

use super::{request_frames, streams};
use crate::hostile::{
    frames::{self, CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS},
    generator::Kind,
    script::Draft,
};

pub const KINDS: &[Kind] = &[
    ("2 requests", requests),
    ("2 more streams than permitted", too_many),
    ("2 half-close", half_close),
    ("2 uploads that stop", uploads_that_stop),
    ("2 body of another length", another_length),
    ("2 data on streams that are closed or idle", closed_streams),
    ("2 ids of streams in disorder", disorder),
    ("2 request after GOAWAY", after_goaway),
];

fn requests(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let count = draft.rng.u32(1..=16);
    if draft.rng.bool() {
        draft.send_each(count, |draft, stream| request_frames(stream, &draft.request()));
        draft.await_answer();
    } else {
        for stream in streams(count.min(5)) {
            let request = draft.request();
            draft.send(request_frames(stream, &request));
            draft.await_answer();
        }
    }
}

fn too_many(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let count = draft.rng.u32(100..600);
    let request = draft.request();
    draft.send_each(count, |_, stream| request_frames(stream, &request));
    draft.pause(1000);
}

fn half_close(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let count = draft.rng.u32(1..=8);
    draft.send_each(count, |draft, stream| request_frames(stream, &draft.request()));
    draft.half_close();
    draft.pause(1000);
}

fn uploads_that_stop(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let count = draft.rng.u32(1..=40);
    draft.send_each(count, |draft, stream| {
        let request = draft.upload();
        let part = &request.body[..draft.rng.usize(..request.body.len())];
        let head = frames::frame(HEADERS, END_HEADERS, stream, &frames::packed(&request.fields()));
        [head, frames::frame(DATA, 0, stream, part)].concat()
    });
    draft.pause(2500);
    if draft.rng.bool() {
        draft.send_each(count, |_, stream| frames::reset(stream, CANCEL));
    }
}

fn another_length(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let count = draft.rng.u32(1..=8);
    draft.send_each(count, |draft, stream| {
        let request = draft.upload();
        let length = draft.choice(&["0", "1", "99999", "-1", "18446744073709551616", "5, 5", ""]);
        let mut fields = request.fields();
        fields.push(("content-length".to_owned(), length.to_owned()));
        let head = frames::frame(HEADERS, END_HEADERS, stream, &frames::packed(&fields));
        [head, frames::frame(DATA, END_STREAM, stream, &request.body)].concat()
    });
    draft.await_answer();
}

fn closed_streams(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let request = draft.request();
    draft.send(request_frames(1, &request));
    draft.await_answer();
    let count = draft.rng.usize(1..300);
    let late: Vec<u8> = (0..count)
        .flat_map(|_| {
            let stream = draft.choice(&[1, 1, 1, 3, 99, 2]);
            let noise = draft.noise(100);
            match draft.rng.u8(..4) {
                0 => frames::frame(HEADERS, END_HEADERS, stream, &frames::packed(&[])),
                1 => frames::window_update(stream, 10),
                2 => frames::reset(stream, CANCEL),
                _ => frames::frame(DATA, draft.rng.u8(..2), stream, &noise),
            }
        })
        .collect();
    draft.send(late);
    draft.await_answer();
}

fn disorder(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    for _ in 0..draft.rng.u8(1..=6) {
        let stream = draft.choice(&[0, 1, 2, 3, 5, 4, 1001, 999, 0x7fff_ffff, 0x7fff_fffd, 0xffff_ffff, 0x8000_0001]);
        let request = draft.request();
        draft.send(request_frames(stream, &request));
    }
    draft.await_answer();
}

fn after_goaway(draft: &mut Draft<'_>) {
    draft.greet(&[]);
    let count = draft.rng.u32(1..=8);
    draft.send_each(count, |draft, stream| request_frames(stream, &draft.request()));
    let (last, code) = (draft.choice(&[0, 1, 0x7fff_ffff]), draft.rng.u32(..20));
    draft.send(frames::goaway(last, code));
    let request = draft.request();
    draft.send(request_frames(count * 2 + 1, &request));
    draft.await_answer();
}
