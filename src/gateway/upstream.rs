//! Connections with one node.
//!
//! hyper-util's client keeps a request that it could not send, body and all; here it comes back, so that what was never
//! sent can go to another node. A connection is dialled before a request is handed to it, kept after the response has come
//! to its end, and closed when it has been idle for longer than the node would keep it.

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

use super::{body::RequestBody, headers::prepare_http2};
use crate::sync::MutexExt;

/// Requests on a connection of HTTP/2 with a node; with more, another one is made. Nodes take twice as many.
const REQUESTS_PER_CONNECTION: usize = 100;

/// Bytes of a response that a node may send ahead of what its client takes. The connection's window has room for as many on
/// each stream, so that clients who take nothing hold up nobody else.
const STREAM_WINDOW: u32 = 64 * 1024;

/// Headers of a response that is passed on.
const MAX_RESPONSE_HEADERS: usize = 256;

/// How connections with nodes are made and kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct UpstreamPolicy {
    /// How long it may take to connect.
    pub(super) connect_timeout: Duration,
    /// How long an unused connection is kept; shorter than the node keeps it.
    pub(super) idle_timeout: Duration,
    /// Whether to speak HTTP/2 without TLS, by prior knowledge.
    pub(super) http2: bool,
}

/// A node's address, and the connections with it.
#[derive(Debug)]
pub(super) struct Upstream {
    authority: Authority,
    policy: UpstreamPolicy,
    idle: Mutex<Vec<Idle>>,
    /// The connections of HTTP/2.
    shared: tokio::sync::Mutex<Vec<Shared>>,
}

/// A connection of HTTP/2, and who is on it.
#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    /// Every request on it has a clone.
    requests: Arc<()>,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
}

/// What failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// No connection could be made.
    #[error("no connection with {authority}")]
    Connect {
        authority: Authority,
        #[source]
        source: io::Error,
    },
    /// The connection failed.
    #[error("the connection with {authority} failed")]
    Connection {
        authority: Authority,
        #[source]
        source: hyper::Error,
    },
}

/// A request that got no response.
pub(super) struct Failed {
    pub(super) error: SendError,
    /// The request, if nothing of it was sent.
    pub(super) unsent: Option<Box<Request<RequestBody>>>,
    /// Whether it went out on a connection that was kept, which the node may just have closed.
    pub(super) was_kept: bool,
}

/// A connection that takes another request once its response has come to its end.
pub(super) enum Reusable {
    /// It takes one at a time.
    Http1(http1::SendRequest<RequestBody>, Arc<Upstream>),
    /// It takes several, of which this is one until it is dropped.
    Http2(#[expect(dead_code, reason = "it is counted")] Arc<()>),
}

impl Reusable {
    /// Keeps the connection for the next request.
    pub(super) fn keep(self) {
        if let Self::Http1(sender, upstream) = self
            && !sender.is_closed()
        {
            upstream.idle().push(Idle { sender, since: Instant::now() });
        }
    }
}

impl Upstream {
    /// For the node at `authority`, a host and a port.
    pub(super) fn new(authority: Authority, policy: UpstreamPolicy) -> Self {
        Self { authority, policy, idle: Mutex::default(), shared: tokio::sync::Mutex::default() }
    }

    /// Where the node is.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// How many connections are kept unused.
    pub(super) fn idle_connections(&self) -> usize {
        self.idle().len()
    }

    /// Closes connections that were unused for too long.
    pub(super) fn reap(&self, now: Instant) {
        self.idle().retain(|idle| !self.is_stale(idle, now));
    }

    /// Sends a request; with the response comes its connection, to keep once the body has come to its end.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Option<Reusable>), Failed> {
        if self.policy.http2 {
            return self.send_http2(request).await.map(|(response, held)| (response, Some(Reusable::Http2(held))));
        }
        loop {
            let kept = self.take_idle();
            let is_kept = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => match self.connect().await {
                    Ok(sender) => sender,
                    Err(error) => return Err(Failed { error, unsent: Some(Box::new(request)), was_kept: false }),
                },
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    // hyper would send what comes next as HTTP/1.0, and a body without a length not at all.
                    let is_reusable = response.version() == Version::HTTP_11;
                    let connection = is_reusable.then(|| Reusable::Http1(sender, Arc::clone(self)));
                    return Ok((response, connection));
                }
                Err(mut error) => match error.take_message() {
                    // The node had closed a connection that was kept: nothing is known of the node itself.
                    Some(unsent) if is_kept => request = unsent,
                    unsent => {
                        let error = self.connection_error(error.into_error());
                        return Err(Failed { error, unsent: unsent.map(Box::new), was_kept: is_kept });
                    }
                },
            }
        }
    }

    async fn send_http2(&self, request: Request<RequestBody>) -> Result<(Response<Incoming>, Arc<()>), Failed> {
        let (mut sender, held) = match self.shared_sender().await {
            Ok(shared) => shared,
            Err(error) => return Err(Failed { error, unsent: Some(Box::new(request)), was_kept: false }),
        };
        let (mut parts, body) = request.into_parts();
        prepare_http2(&mut parts, &self.authority);
        let request = Request::from_parts(parts, body);
        match sender.try_send_request(request).await {
            Ok(response) => Ok((response, held)),
            Err(mut error) => {
                let unsent = error.take_message().map(Box::new);
                Err(Failed { error: self.connection_error(error.into_error()), unsent, was_kept: true })
            }
        }
    }

    /// A connection with room for a request, and what holds its place on it.
    async fn shared_sender(&self) -> Result<(http2::SendRequest<RequestBody>, Arc<()>), SendError> {
        let mut shared = self.shared.lock().await;
        shared.retain(|shared| !shared.sender.is_closed());
        let has_room = |shared: &&Shared| Arc::strong_count(&shared.requests) <= REQUESTS_PER_CONNECTION;
        if let Some(Shared { sender, requests }) = shared.iter().find(has_room) {
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
        shared.push(Shared { sender: sender.clone(), requests: Arc::clone(&requests) });
        Ok((sender, requests))
    }

    async fn connect(&self) -> Result<http1::SendRequest<RequestBody>, SendError> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(MAX_RESPONSE_HEADERS)
            .handshake(TokioIo::new(self.dial().await?))
            .await
            .map_err(|source| self.connection_error(source))?;
        // What goes wrong on it reaches the request that is on it.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn dial(&self) -> Result<TcpStream, SendError> {
        let host = self.authority.host().trim_start_matches('[').trim_end_matches(']');
        let dialled = TcpStream::connect((host, self.authority.port_u16().unwrap_or(80)));
        let stream = match tokio::time::timeout(self.policy.connect_timeout, dialled).await {
            Ok(dialled) => dialled.and_then(|stream| stream.set_nodelay(true).map(|()| stream)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        stream.map_err(|source| SendError::Connect { authority: self.authority.clone(), source })
    }

    /// The connection that was used last: the others get to be idle for long enough to be closed.
    fn take_idle(&self) -> Option<http1::SendRequest<RequestBody>> {
        let now = Instant::now();
        let mut idle = self.idle();
        while let Some(last) = idle.pop() {
            if self.is_stale(&last, now) {
                // So are all before it.
                idle.clear();
            } else if last.sender.is_ready() {
                return Some(last.sender);
            }
        }
        None
    }

    fn is_stale(&self, idle: &Idle, now: Instant) -> bool {
        now.saturating_duration_since(idle.since) >= self.policy.idle_timeout || idle.sender.is_closed()
    }

    fn connection_error(&self, source: hyper::Error) -> SendError {
        SendError::Connection { authority: self.authority.clone(), source }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.locked()
    }
}
