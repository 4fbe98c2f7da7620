//! A connection of HTTP/1.1 on which a test sends and reads exactly the bytes that it wants.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Service, in_time};

/// One end of a connection.
pub struct Connection {
    stream: TcpStream,
    /// What has arrived and is not read yet.
    buffer: Vec<u8>,
    /// The head of the last message.
    pub head: String,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new(), head: String::new() }
    }

    /// A client's connection to a service.
    pub async fn to(service: &Service) -> Self {
        Self::new(TcpStream::connect(service.address()).await.expect("a connection"))
    }

    pub async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.expect("the other end reads");
    }

    /// Sends; returns whether the other end is still there.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        in_time("the other end reads or closes", self.stream.write_all(bytes)).await.is_ok()
    }

    /// Reads up to the end of a head, and returns it in lower case but for its first line; none if the connection ends before.
    pub async fn read_head(&mut self) -> Option<String> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if self.more().await == 0 {
                return None;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).expect("text");
        let (first, rest) = head.split_once("\r\n").expect("a line");
        self.head = format!("{first}\r\n{}", rest.to_ascii_lowercase());
        Some(self.head.clone())
    }

    /// The value of a header of the last head.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Reads so many bytes.
    pub async fn read(&mut self, count: usize) -> String {
        String::from_utf8(self.read_bytes(count).await).expect("text")
    }

    /// As [`Self::read`], for bytes that are not text.
    pub async fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.more().await > 0, "the connection ended after {:?}", self.buffer);
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads up to and including `end`.
    pub async fn read_until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|bytes| bytes == end.as_bytes()) {
                return self.read(at + end.len()).await;
            }
            assert!(self.more().await > 0, "the connection ended after {:?}", String::from_utf8_lossy(&self.buffer));
        }
    }

    /// Reads until the other end closes or resets the connection.
    pub async fn read_to_end(&mut self) -> String {
        while self.more().await > 0 {}
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }

    /// Reads a response's head and a body of its content length; returns the status and the body.
    pub async fn response(&mut self) -> (u16, String) {
        self.read_head().await.expect("a response");
        let length = self.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        (self.status(), self.read(length).await)
    }

    pub fn status(&self) -> u16 {
        self.head[9..12].parse().expect("a status")
    }

    /// Ends the connection with a reset, as a process that is killed with unread data does.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("an option");
    }

    /// Its two directions, for a test that uses both at once.
    pub fn into_split(self) -> (tokio::net::tcp::OwnedReadHalf, tokio::net::tcp::OwnedWriteHalf) {
        self.stream.into_split()
    }

    async fn more(&mut self) -> usize {
        in_time("bytes arrive, or the end", self.stream.read_buf(&mut self.buffer)).await.unwrap_or(0)
    }
}
