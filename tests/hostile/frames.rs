//! HTTP/2 frames, valid and invalid.

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Also the flag `ACK` of settings and pings.
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// The setting of a stream's initial window.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

pub const CANCEL: u32 = 8;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    claiming(payload.len(), kind, flags, stream, payload)
}

/// A frame with a length field that may be wrong.
pub fn claiming(length: usize, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values
        .iter()
        .flat_map(|(name, value)| [name.to_be_bytes().as_slice(), &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

pub fn number(kind: u8, stream: u32, value: u32) -> Vec<u8> {
    frame(kind, 0, stream, &value.to_be_bytes())
}

pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    number(WINDOW_UPDATE, stream, increment)
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    number(RST_STREAM, stream, code)
}

pub fn ping(value: u64) -> Vec<u8> {
    frame(PING, 0, 0, &value.to_be_bytes())
}

pub fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

pub fn priority(stream: u32, parent: u32, weight: u8) -> Vec<u8> {
    frame(PRIORITY, 0, stream, &[parent.to_be_bytes().as_slice(), &[weight]].concat())
}

/// The fields as literals without indexing.
pub fn packed(fields: &[(String, String)]) -> Vec<u8> {
    let text = |text: &str| [integer(text.len(), 7), text.as_bytes().to_vec()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// An integer with a prefix of so many bits (RFC 7541, section 5.1).
pub fn integer(value: usize, bits: u8) -> Vec<u8> {
    let max = (1 << bits) - 1;
    if value < max {
        return vec![u8::try_from(value).unwrap_or(u8::MAX)];
    }
    let (mut bytes, mut rest) = (vec![u8::try_from(max).unwrap_or(u8::MAX)], value - max);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap_or_default() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap_or_default());
    bytes
}
