//! Connection pool of one node.
//!
//! Unlike hyper-util's client, it returns a request that could not be sent, with its body, so that it can go to another node.
//! A connection is opened before a request is handed to it, becomes idle after the end of the response, and is closed before
//! the node would close it.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use http::{Request, Response, Version, uri::Authority};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::{body::RequestBody, headers::convert_to_http2};
use crate::sync::MutexExt;

/// Maximum number of requests on an HTTP/2 connection. Nodes accept twice as many.
const REQUESTS_PER_CONNECTION: usize = 100;

/// HTTP/2 flow-control window of a response in bytes. The window of the connection is large enough for all its streams, so
/// a client that does not read delays no other.
const STREAM_WINDOW: u32 = 64 * 1024;

/// Maximum number of response headers.
const MAX_RESPONSE_HEADERS: usize = 256;

#[derive(Debug, Clone, Copy)]
pub(super) struct UpstreamPolicy {
    pub(super) connect_timeout: Duration,
    /// Time after which an idle connection is closed; shorter than the node's own timeout.
    pub(super) idle_timeout: Duration,
    /// Whether to use HTTP/2 without TLS, with prior knowledge.
    pub(super) http2: bool,
}

/// The connections to a node.
#[derive(Debug)]
pub(super) struct Upstream {
    authority: Authority,
    policy: UpstreamPolicy,
    /// HTTP/1.1 connections; the last one was used last.
    idle: Mutex<Vec<IdleConnection>>,
    http2: tokio::sync::Mutex<Vec<Http2Connection>>,
}

#[derive(Debug)]
struct Http2Connection {
    sender: http2::SendRequest<RequestBody>,
    /// Counts the requests: each holds a clone.
    requests: Arc<()>,
}

#[derive(Debug)]
struct IdleConnection {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("could not connect to {authority}")]
    Connect {
        authority: Authority,
        #[source]
        source: io::Error,
    },
    #[error("the connection to {authority} failed")]
    Connection {
        authority: Authority,
        #[source]
        source: hyper::Error,
    },
}

/// A request without a response.
pub(super) struct SendFailure {
    pub(super) error: SendError,
    /// The request, if no byte of it was sent.
    pub(super) unsent: Option<Box<Request<RequestBody>>>,
    /// Whether the connection was reused. The node may have closed it at the same time.
    pub(super) was_reused: bool,
}

/// A connection that can take another request after the end of the response.
pub(super) enum Reusable {
    Http1(http1::SendRequest<RequestBody>, Arc<Upstream>),
    /// The request counts on the connection until this is dropped.
    Http2(#[expect(dead_code, reason = "the clones are counted")] Arc<()>),
}

impl Reusable {
    /// Returns the connection to the pool.
    pub(super) fn release(self) {
        if let Self::Http1(sender, upstream) = self
            && !sender.is_closed()
        {
            upstream.idle().push(IdleConnection { sender, since: Instant::now() });
        }
    }
}

impl Upstream {
    pub(super) fn new(authority: Authority, policy: UpstreamPolicy) -> Self {
        Self { authority, policy, idle: Mutex::default(), http2: tokio::sync::Mutex::default() }
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) fn idle_connections(&self) -> usize {
        self.idle().len()
    }

    /// Closes expired idle connections.
    pub(super) fn reap(&self, now: Instant) {
        self.idle().retain(|idle| !self.is_expired(idle, now));
    }

    /// Sends a request. Returns the response, and its connection to release after the end of the body.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Option<Reusable>), SendFailure> {
        if self.policy.http2 {
            return self.send_http2(request).await.map(|(response, slot)| (response, Some(Reusable::Http2(slot))));
        }
        loop {
            let idle = self.take_idle();
            let is_reused = idle.is_some();
            let mut sender = match idle {
                Some(sender) => sender,
                None => match self.connect().await {
                    Ok(sender) => sender,
                    Err(error) => {
                        return Err(SendFailure { error, unsent: Some(Box::new(request)), was_reused: false });
                    }
                },
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    // After an HTTP/1.0 response, hyper would send HTTP/1.0 requests, without chunked bodies.
                    let is_reusable = response.version() == Version::HTTP_11;
                    let connection = is_reusable.then(|| Reusable::Http1(sender, Arc::clone(self)));
                    return Ok((response, connection));
                }
                Err(mut error) => match error.take_message() {
                    // The node had closed the idle connection: try another one.
                    Some(unsent) if is_reused => request = unsent,
                    unsent => {
                        let error = self.connection_error(error.into_error());
                        return Err(SendFailure { error, unsent: unsent.map(Box::new), was_reused: is_reused });
                    }
                },
            }
        }
    }

    async fn send_http2(&self, request: Request<RequestBody>) -> Result<(Response<Incoming>, Arc<()>), SendFailure> {
        let (mut sender, slot) = match self.http2_sender().await {
            Ok(sender) => sender,
            Err(error) => return Err(SendFailure { error, unsent: Some(Box::new(request)), was_reused: false }),
        };
        let (mut parts, body) = request.into_parts();
        convert_to_http2(&mut parts, &self.authority);
        let request = Request::from_parts(parts, body);
        match sender.try_send_request(request).await {
            Ok(response) => Ok((response, slot)),
            Err(mut error) => {
                let unsent = error.take_message().map(Box::new);
                Err(SendFailure { error: self.connection_error(error.into_error()), unsent, was_reused: true })
            }
        }
    }

    /// Returns a connection with capacity for a request, and the slot of the request on it.
    async fn http2_sender(&self) -> Result<(http2::SendRequest<RequestBody>, Arc<()>), SendError> {
        let mut connections = self.http2.lock().await;
        connections.retain(|connection| !connection.sender.is_closed());
        let has_capacity =
            |connection: &&Http2Connection| Arc::strong_count(&connection.requests) <= REQUESTS_PER_CONNECTION;
        if let Some(Http2Connection { sender, requests }) = connections.iter().find(has_capacity) {
            return Ok((sender.clone(), Arc::clone(requests)));
        }
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(self.policy.idle_timeout)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW * (REQUESTS_PER_CONNECTION as u32 + 1))
            .handshake(TokioIo::new(self.dial().await?))
            .await
            .map_err(|source| self.connection_error(source))?;
        tokio::spawn(connection);
        let requests = Arc::new(());
        connections.push(Http2Connection { sender: sender.clone(), requests: Arc::clone(&requests) });
        Ok((sender, requests))
    }

    async fn connect(&self) -> Result<http1::SendRequest<RequestBody>, SendError> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(MAX_RESPONSE_HEADERS)
            .handshake(TokioIo::new(self.dial().await?))
            .await
            .map_err(|source| self.connection_error(source))?;
        // Errors of the connection are returned to its request.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn dial(&self) -> Result<TcpStream, SendError> {
        let host = self.authority.host().trim_start_matches('[').trim_end_matches(']');
        let connecting = TcpStream::connect((host, self.authority.port_u16().unwrap_or(80)));
        let stream = match tokio::time::timeout(self.policy.connect_timeout, connecting).await {
            Ok(connected) => connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        stream.map_err(|source| SendError::Connect { authority: self.authority.clone(), source })
    }

    /// Takes the connection that was used last, so that the others expire.
    fn take_idle(&self) -> Option<http1::SendRequest<RequestBody>> {
        let now = Instant::now();
        let mut idle = self.idle();
        while let Some(last) = idle.pop() {
            if self.is_expired(&last, now) {
                // The others were used earlier, so they have expired too.
                idle.clear();
            } else if last.sender.is_ready() {
                return Some(last.sender);
            }
        }
        None
    }

    fn is_expired(&self, idle: &IdleConnection, now: Instant) -> bool {
        now.saturating_duration_since(idle.since) >= self.policy.idle_timeout || idle.sender.is_closed()
    }

    fn connection_error(&self, source: hyper::Error) -> SendError {
        SendError::Connection { authority: self.authority.clone(), source }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<IdleConnection>> {
        self.idle.locked()
    }
}
