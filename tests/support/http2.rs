//! A client of HTTP/2 that reads responses only when a test does.

use h2::client::{Builder, ResponseFuture, SendRequest};
use http::Request;
use hyper::body::Bytes;
use tokio::{net::TcpStream, task::JoinHandle};

use super::{Service, in_time};

/// A connection.
pub struct Http2 {
    sender: SendRequest<Bytes>,
    authority: String,
    /// Ends with the connection; answers pings until then.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    /// A connection whose streams have a window of `window` bytes.
    pub async fn to(service: &Service, window: u32) -> Self {
        let authority = service.address().to_owned();
        let stream = TcpStream::connect(&authority).await.expect("a connection");
        let (sender, connection) =
            Builder::new().initial_window_size(window).handshake(stream).await.expect("a handshake");
        Self { sender, authority, connection: tokio::spawn(connection) }
    }

    /// Begins a request; its response is read when the test does.
    pub async fn begin(&mut self, method: &str, path: &str, body: Option<&str>) -> ResponseFuture {
        self.begin_with(method, path, ("content-type", "application/json"), body).await
    }

    /// Begins a request with a header.
    pub async fn begin_with(
        &mut self,
        method: &str,
        path: &str,
        (name, value): (&str, &str),
        body: Option<&str>,
    ) -> ResponseFuture {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.authority))
            .header(name, value)
            .body(())
            .expect("a request");
        self.sender = self.sender.clone().ready().await.expect("room for a stream");
        let (response, mut upload) = self.sender.send_request(request, body.is_none()).expect("sent");
        if let Some(body) = body {
            upload.send_data(Bytes::from(body.to_owned()), true).expect("sent");
        }
        response
    }

    /// Begins a POST request whose body is not sent.
    pub async fn begin_without_body(&mut self, path: &str) -> h2::SendStream<Bytes> {
        let uri = format!("http://{}{path}", self.authority);
        let request = Request::post(uri).header("content-type", "application/json").body(()).expect("a request");
        self.sender = self.sender.clone().ready().await.expect("room for a stream");
        self.sender.send_request(request, false).expect("sent").1
    }

    /// Makes so many requests and returns the responses once all have a head; their bodies are not read.
    pub async fn stall(&mut self, count: usize, method: &str, path: &str, body: Option<&str>) -> Vec<Stalled> {
        let mut responses = Vec::new();
        for _ in 0..count {
            responses.push(self.begin(method, path, body).await);
        }
        let mut stalled = Vec::new();
        for response in responses {
            let response = in_time("a response begins", response).await.expect("a head");
            stalled.push(Stalled { status: response.status().as_u16(), body: response.into_body() });
        }
        stalled
    }
}

/// A response whose body is not read.
pub struct Stalled {
    pub status: u16,
    body: h2::RecvStream,
}

impl Stalled {
    /// The error that ends the body.
    pub async fn failure(&mut self) -> h2::Error {
        let failed = async {
            loop {
                match self.body.data().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return error,
                    None => panic!("the body came to its end"),
                }
            }
        };
        in_time("the body fails", failed).await
    }
}
