//! The kind of answer on one connection.

use std::fmt;

use super::frames::{GOAWAY, RST_STREAM};

/// How many bytes of an answer are examined.
const EXAMINED: usize = 4096;

/// The first bytes of an answer.
#[derive(Debug, Default)]
pub struct Answer {
    bytes: Vec<u8>,
    refused: bool,
}

impl Answer {
    /// No connection was made.
    pub fn refused() -> Self {
        Self { bytes: Vec::new(), refused: true }
    }

    pub fn add(&mut self, bytes: &[u8]) {
        let room = EXAMINED - self.bytes.len();
        self.bytes.extend(&bytes[..bytes.len().min(room)]);
    }

    /// The error code of the first frame that ends the connection or a stream.
    fn http2_error(&self) -> Option<(u8, u32)> {
        let mut rest = self.bytes.as_slice();
        while let Some((head, payload)) = rest.split_at_checked(9) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let (payload, after) = payload.split_at_checked(length)?;
            let code_at = if head[3] == GOAWAY { 4 } else { 0 };
            if [GOAWAY, RST_STREAM].contains(&head[3]) {
                let code = payload.get(code_at..code_at + 4)?;
                return Some((head[3], u32::from_be_bytes(code.try_into().ok()?)));
            }
            rest = after;
        }
        None
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refused {
            return out.write_str("no connection");
        }
        if let Some(status) = self.bytes.strip_prefix(b"HTTP/1.1 ") {
            return write!(out, "1.1 {}", String::from_utf8_lossy(&status[..status.len().min(3)]));
        }
        match self.http2_error() {
            _ if self.bytes.is_empty() => out.write_str("nothing"),
            Some((GOAWAY, code)) => write!(out, "2 connection ended, code {code}"),
            Some((_, code)) => write!(out, "2 stream reset, code {code}"),
            None => out.write_str("2 answered"),
        }
    }
}
