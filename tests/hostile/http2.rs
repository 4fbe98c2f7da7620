//! Kinds of HTTP/2 connections.

mod fields;
mod floods;
mod streams;
mod violations;
mod windows;

use super::{
    frames::{self, END_HEADERS, END_STREAM, HEADERS, PREFACE},
    generator::Kind,
    requests::Request,
    script::Draft,
};

/// All kinds, grouped by subject.
pub const KINDS: [&[Kind]; 5] = [streams::KINDS, windows::KINDS, floods::KINDS, fields::KINDS, violations::KINDS];

/// The frames of one request.
fn request_frames(stream: u32, request: &Request) -> Vec<u8> {
    let fields = frames::packed(&request.fields());
    if request.body.is_empty() {
        return frames::frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields);
    }
    let data = frames::frame(frames::DATA, END_STREAM, stream, &request.body);
    [frames::frame(HEADERS, END_HEADERS, stream, &fields), data].concat()
}

/// The ids of the first streams of a client.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

impl Draft<'_> {
    /// The preface and settings.
    fn greet(&mut self, settings: &[(u16, u32)]) {
        self.send([PREFACE, &frames::settings(settings)].concat());
        if self.rng.bool() {
            self.send(frames::frame(frames::SETTINGS, frames::ACK, 0, b""));
        }
    }

    /// Sends frames of so many streams in one piece.
    fn send_each(&mut self, count: u32, mut made: impl FnMut(&mut Self, u32) -> Vec<u8>) {
        let frames: Vec<u8> = streams(count).flat_map(|stream| made(self, stream)).collect();
        self.send(frames);
    }
}
