//! What goes over the wire.

use std::{
    fs::File,
    io::{self, Write},
    net::TcpStream,
};

use rustix::{
    fs::{MemfdFlags, memfd_create, sendfile},
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};

/// The size of a large body.
pub const LARGE: u64 = 1 << 20;

/// A head, with its body if that is short, and then so many bytes of the large body.
pub struct Message {
    start: Vec<u8>,
    large: u64,
}

impl Message {
    /// With a short body.
    pub fn small(head: &str, body: &str) -> Self {
        Self { start: format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes(), large: 0 }
    }

    /// With a large body.
    pub fn large(head: &str) -> Self {
        Self { start: format!("{head}Content-Length: {LARGE}\r\n\r\n").into_bytes(), large: LARGE }
    }

    /// With none.
    pub fn bare(head: &str) -> Self {
        Self { start: format!("{head}\r\n").into_bytes(), large: 0 }
    }

    /// Sends what is not `sent` yet, as far as that goes now; whether all of it is out.
    pub fn send(&self, stream: &TcpStream, body: &File, sent: &mut u64) -> io::Result<bool> {
        let (start, flags) =
            (self.start.len() as u64, if self.large > 0 { SendFlags::MORE } else { SendFlags::empty() });
        while *sent < start + self.large {
            let passed = if *sent < start {
                send(stream, &self.start[*sent as usize..], flags)
            } else {
                let mut from = *sent - start;
                sendfile(stream, body, Some(&mut from), (start + self.large - *sent) as usize)
            };
            match passed {
                Ok(passed) => *sent += passed as u64,
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

/// The large body, in a file: what is sent from there is not copied.
pub fn large_body() -> io::Result<File> {
    let mut file = File::from(memfd_create("body", MemfdFlags::CLOEXEC)?);
    let bytes: Vec<u8> =
        (0..LARGE).map(|number| b"0123456789abcdefghijklmnopqrstuvwxyz\n"[number as usize % 37]).collect();
    file.write_all(&bytes)?;
    Ok(file)
}

/// What came.
pub enum Received {
    /// The first bytes of a message are in the buffer, all of its head among them; so many of its body are yet to come.
    Head { head: usize, body: u64 },
    /// Nothing more for now.
    Pending,
    /// The other side is done.
    Closed,
}

/// Reads a message's head.
pub fn receive_head(stream: &TcpStream, buffer: &mut Vec<u8>) -> io::Result<Received> {
    let mut piece = [0; 4096];
    loop {
        let count = match recv(stream, &mut piece[..], RecvFlags::empty()) {
            Ok((0, _)) => return Ok(Received::Closed),
            Ok((count, _)) => count,
            Err(Errno::AGAIN) => return Ok(Received::Pending),
            Err(error) => return Err(error.into()),
        };
        buffer.extend_from_slice(&piece[..count]);
        if let Some(head) = head_length(buffer) {
            let length = content_length(&buffer[..head])?;
            let come = (buffer.len() - head) as u64;
            let body = length.checked_sub(come).ok_or_else(|| io::Error::other("more came than was announced"))?;
            return Ok(Received::Head { head, body });
        }
        if count < piece.len() {
            return Ok(Received::Pending);
        }
    }
}

/// Reads so many bytes of a body and drops them, uncopied; returns how many, less than asked for if no more are there.
pub fn skip(stream: &TcpStream, waste: &mut [u8], asked: u64) -> io::Result<u64> {
    let mut skipped = 0;
    while skipped < asked {
        let most = (asked - skipped).min(waste.len() as u64) as usize;
        match recv(stream, &mut waste[..most], RecvFlags::TRUNC) {
            Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((_, count)) => skipped += count as u64,
            Err(Errno::AGAIN) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(skipped)
}

fn head_length(buffer: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    buffer.windows(END.len()).position(|bytes| bytes == END).map(|position| position + END.len())
}

/// Of a head; none is zero, as for `GET`. Whatever comes here had a length when it was sent, so none is in chunks.
fn content_length(head: &[u8]) -> io::Result<u64> {
    const NAME: &[u8] = b"content-length:";
    for line in head.split(|byte| *byte == b'\n') {
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            let value = std::str::from_utf8(&line[NAME.len()..]).map_err(io::Error::other)?;
            return value.trim().parse().map_err(io::Error::other);
        }
    }
    Ok(0)
}
