//! A node of the gateway that answers exactly what a test wants.

use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{Connection, in_time};

/// A node. It answers health checks itself, and passes every other request to the test.
pub struct Node {
    pub url: String,
    requests: mpsc::UnboundedReceiver<Connection>,
    _listening: AbortOnDropHandle<()>,
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

    /// The next new connection with a request, its head read.
    pub async fn request(&mut self) -> Connection {
        in_time("a request arrives", self.requests.recv()).await.expect("the node runs")
    }

    /// Whether every request that arrived was taken. To be asked when no more can be under way.
    pub fn has_no_request(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }
}
