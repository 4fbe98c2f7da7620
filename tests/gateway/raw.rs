//! A node and a client that say exactly what a test wants.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_util::task::AbortOnDropHandle;

use crate::service::harness::{DEADLINE, Service};

/// A node. It answers health checks itself, and hands everything else to the test.
pub struct Node {
    pub url: String,
    requests: mpsc::UnboundedReceiver<Connection>,
    _listening: AbortOnDropHandle<()>,
}

/// One end of a connection.
pub struct Connection {
    stream: TcpStream,
    /// What has arrived and was not yet taken.
    buffer: Vec<u8>,
    /// The head that began the last message.
    pub head: String,
}

impl Node {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (sender, requests) = mpsc::unbounded_channel();
        let listening = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut connection = Connection::new(stream);
                    if connection.read_head().await.is_none() {
                        return;
                    }
                    if connection.head.starts_with("GET /v1/health/ready ") {
                        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
                    } else {
                        let _ = sender.send(connection);
                    }
                });
            }
        });
        Self { url, requests, _listening: AbortOnDropHandle::new(listening) }
    }

    /// The next new connection that brought a request, its head read.
    pub async fn request(&mut self) -> Connection {
        let request = tokio::time::timeout(DEADLINE, self.requests.recv());
        request.await.expect("a request in time").expect("the node runs")
    }

    /// Whether no request came that was not taken; for when all that could have come has.
    pub fn has_nothing(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new(), head: String::new() }
    }

    /// A client's connection with a service.
    pub async fn with(service: &Service) -> Self {
        let address = service.url.strip_prefix("http://").expect("an address");
        Self::new(TcpStream::connect(address).await.expect("a connection"))
    }

    pub async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.expect("the other end reads");
    }

    /// Sends as long as the other end is there; whether it still was.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        let sent = tokio::time::timeout(DEADLINE, self.stream.write_all(bytes)).await;
        sent.expect("the other end reads, or goes, in time").is_ok()
    }

    /// Reads up to the end of a head; none if the connection ends before. It is in lower case, but for its first line.
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
        while self.buffer.len() < count {
            assert!(self.more().await > 0, "the connection ended after {:?}", self.buffer);
        }
        String::from_utf8(self.buffer.drain(..count).collect()).expect("text")
    }

    /// Reads until such an end.
    pub async fn read_until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|bytes| bytes == end.as_bytes()) {
                return self.read(at + end.len()).await;
            }
            assert!(self.more().await > 0, "the connection ended after {:?}", String::from_utf8_lossy(&self.buffer));
        }
    }

    /// Reads until the other end closes, or breaks off.
    pub async fn read_to_end(&mut self) -> String {
        while self.more().await > 0 {}
        String::from_utf8(std::mem::take(&mut self.buffer)).expect("text")
    }

    /// Reads a response's head and a body of its content length; the status and the body.
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

    async fn more(&mut self) -> usize {
        let read = tokio::time::timeout(DEADLINE, self.stream.read_buf(&mut self.buffer)).await;
        read.expect("bytes, or the end, in time").unwrap_or(0)
    }
}

/// A gateway before one node, once it has found it well.
pub async fn gateway_before(node: &Node, settings: &[(&str, &str)]) -> Service {
    gateway_before_all(&[node], settings).await
}

/// A gateway before several nodes, once it has found one well.
pub async fn gateway_before_all(nodes: &[&Node], settings: &[(&str, &str)]) -> Service {
    let arguments: Vec<&str> = nodes.iter().flat_map(|node| ["--node", &node.url]).collect();
    let gateway = Service::gateway(&arguments, settings).await;
    crate::service::harness::until("the gateway is ready", async || {
        gateway.get("/v1/health/ready").send().await.status == 200
    })
    .await;
    gateway
}
