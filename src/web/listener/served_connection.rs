//! Serves one connection from its first to its last byte.

use std::{
    cell::Cell,
    convert::Infallible,
    error::Error,
    future::{poll_fn, ready},
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::ConnectInfo,
    http::{HeaderValue, Request, Response, StatusCode, Version, header},
    response::IntoResponse,
};
use futures_util::{FutureExt, future::Either};
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{net::TcpStream, sync::Notify};
use tokio_io_timeout::TimeoutStream;

use super::{
    DrainSignal, HttpService, ListenerPolicy, SentBody,
    delay::{delay, is_delayed},
};
use crate::web::{
    auth,
    connections::{
        ClientBody, Connection, ConnectionKind, Exchange, OpenConnection, OutgoingBody, Shutdown, StreamExecutor,
    },
    default_headers,
    problem::{Delayed, Problem, ProblemKind},
    timers::SpareTimer,
};

/// Maximum size of a request's head, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// HTTP/2 flow-control windows in bytes: how far clients may send ahead of the reader, per stream and per connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// Limits for reading and discarding an unused request body before the response is sent: bytes and time.
const MAX_DISCARDED: usize = 2 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Time for the first request on a connection above the cap, which must be an operator's or a health check.
const RESERVED_HEADER_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to be served.
pub(super) struct ServedConnection {
    pub(super) peer: SocketAddr,
    pub(super) opened: OpenConnection,
    pub(super) drain: Arc<DrainSignal>,
    pub(super) policy: ListenerPolicy,
}

impl ServedConnection {
    /// Serves `service` on the connection until it closes.
    pub(super) async fn run<S: HttpService<B>, B: SentBody>(self, stream: TcpStream, service: S) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "setting TCP_NODELAY failed");
        }
        let timeouts = self.policy.connections.timeouts();
        let builder = self.builder();
        let first_request = Arc::new(Notify::new());
        let connection = Arc::clone(&self.opened.0);
        let ConnectionKind { is_above_cap, is_trusted, .. } = connection.kind();
        let (heard, timer, peer, policy) =
            (Arc::clone(&first_request), SpareTimer::default(), self.peer, self.policy.clone());
        let spare_exchange = Cell::default();
        let service = service_fn(move |mut request: Request<Incoming>| {
            heard.notify_one();
            let is_http2 = request.version() == Version::HTTP_2;
            let exchange = if is_http2 { connection.begin_stream() } else { connection.begin(&spare_exchange) };
            let has_body = !request.body().is_end_stream();
            let expects_continue = has_body && request.headers().contains_key(header::EXPECT);
            let answer = if let Some(refusal) = refusal(&request, &connection, &policy) {
                Either::Left(ready(Ok(refusal)))
            } else {
                request.extensions_mut().insert(ConnectInfo(peer));
                request.extensions_mut().insert(timer.clone());
                let request = request.map(|body| ClientBody::new(body, Arc::clone(&exchange)));
                // It is always ready, so `poll_ready` is not called.
                let mut service = service.clone();
                Either::Right(if is_http2 {
                    // The future is large, so it is created only when the stream has its turn.
                    Either::Left(Box::pin(async move { service.call(request).await }))
                } else {
                    Either::Right(service.call(request))
                })
            };
            answer.then(move |answered| {
                let Ok(response) = answered;
                // A client that waits for `100 Continue` has sent no body yet.
                let unread = if has_body { exchange.take_unread().filter(|_| !expects_continue) } else { None };
                // A trusted proxy's connection carries other clients too. A gateway delays the responses itself.
                let is_delayed = is_delayed(&response) && !is_trusted;
                if unread.is_none() && !is_delayed {
                    Either::Left(ready(Ok::<_, Infallible>(OutgoingBody::response(response, exchange))))
                } else {
                    Either::Right(Box::pin(hold_back(response, unread, is_delayed, exchange).map(Ok)))
                }
            })
        });
        // hyper sets no write timeout: the connection and the resources of its response would be held forever.
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(timeouts.send_timeout));
        let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(Box::pin(stream)), service));
        let mut drain = std::pin::pin!(self.drain.token.cancelled());
        let (mut asked, mut is_shutting_down, mut registered) = (false, false, None);
        let mut serving = poll_fn(|cx: &mut Context<'_>| {
            // Registered again after each change: a graceful shutdown may be followed by an immediate one.
            let shutdown = self.opened.0.shutdown();
            if registered != Some(shutdown) {
                self.opened.0.register(cx.waker());
                registered = Some(shutdown);
            }
            let shutdown = self.opened.0.shutdown();
            // Polled once to register the waker, and then only after a signal: polling takes a lock that all connections share.
            let mut is_draining = false;
            if !is_shutting_down && (!asked || self.drain.has_begun()) {
                asked = true;
                is_draining = drain.as_mut().poll(cx).is_ready();
            }
            if !is_shutting_down && (is_draining || shutdown == Shutdown::Graceful) {
                is_shutting_down = true;
                serving.as_mut().graceful_shutdown();
            }
            if shutdown == Shutdown::Immediate { Poll::Ready(Ok(())) } else { serving.as_mut().poll(cx) }
        });
        // hyper's header timeout covers neither the wait for a request's first byte nor for the HTTP/2 preface.
        let head_timeout =
            if is_above_cap { timeouts.header_timeout.min(RESERVED_HEADER_TIMEOUT) } else { timeouts.header_timeout };
        let first_request = tokio::time::timeout(head_timeout, first_request.notified());
        let ended = tokio::select! {
            ended = &mut serving => ended,
            first = first_request => match first {
                Ok(()) => (&mut serving).await,
                Err(_) => return tracing::debug!(%peer, "closing connection; no request arrived in time"),
            },
        };
        // Logged at debug level: usually the client disconnected or did not speak HTTP.
        if let Err(error) = ended {
            tracing::debug!(error = &*error as &dyn Error, %peer, "connection ended early");
        }
    }

    fn builder(&self) -> Builder<StreamExecutor> {
        let connections = &self.policy.connections;
        let mut builder = Builder::new(StreamExecutor(Arc::clone(&self.opened.0)));
        builder
            .http1()
            .timer(SpareTimer::default())
            .header_read_timeout(connections.timeouts().header_timeout)
            .max_buf_size(MAX_HEAD_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(connections.streams_per_connection(self.opened.0.kind().is_trusted))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .keep_alive_interval(Some(Duration::from_secs(30)));
        builder
    }
}

/// Returns the response after `unread` has been discarded and its delay has passed.
async fn hold_back<B: SentBody>(
    response: Response<B>,
    unread: Option<Incoming>,
    is_delayed: bool,
    exchange: Arc<Exchange>,
) -> Response<OutgoingBody<B>> {
    if let Some(unread) = unread {
        // Closing a connection with unread bytes resets it, and the client may lose the response.
        discard(unread, &exchange).await;
    }
    let response = if is_delayed { delay(response, &exchange).await } else { response };
    OutgoingBody::response(response, exchange)
}

/// Reads and discards an unused body, within limits.
async fn discard(mut body: Incoming, exchange: &Exchange) {
    if body.size_hint().lower() > MAX_DISCARDED as u64 {
        return;
    }
    exchange.set_working(false);
    let read = async {
        let mut left = MAX_DISCARDED;
        while left > 0
            && let Some(Ok(frame)) = body.frame().await
        {
            left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len()));
        }
    };
    if tokio::time::timeout(DISCARD_TIMEOUT, read).await.is_err() {
        tracing::debug!("discarding an unused request body timed out");
    }
}

/// Returns a rejection if the connection is above the cap or holds too many resources.
fn refusal<B: SentBody, R>(
    request: &Request<R>,
    connection: &Connection,
    policy: &ListenerPolicy,
) -> Option<Response<B>> {
    let is_above_cap = connection.kind().is_above_cap;
    let exceeded = connection.exceeded();
    if !is_above_cap && exceeded.is_none() {
        return None;
    }
    if is_privileged_request(request, policy) {
        connection.mark_privileged();
        return None;
    }
    if is_above_cap {
        policy.connections.count_above_cap();
        // The client can try again on a new connection.
        connection.shut_down(Shutdown::Graceful);
        return Some(above_cap());
    }
    exceeded.map(|bound| {
        policy.connections.count_exceeded(bound);
        holds_too_much()
    })
}

/// Returns whether a request is exempt from connection limits: operators and health checks must get through under overload.
fn is_privileged_request<R>(request: &Request<R>, policy: &ListenerPolicy) -> bool {
    request.uri().path().starts_with("/v1/health/")
        || auth::bearer(request.headers()).is_some_and(|token| policy.operator_tokens.accept(token))
}

/// Returns the rejection on a connection above the cap, which closes after it.
fn above_cap<B: SentBody>() -> Response<B> {
    let mut response = default_headers::complete(Problem::from(ProblemKind::Overloaded).unlogged().into_response());
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response.map(B::from)
}

/// Returns the rejection on a connection that holds too many resources. It has no body, which would add to them.
fn holds_too_much<B: SentBody>() -> Response<B> {
    let mut response = default_headers::complete(StatusCode::SERVICE_UNAVAILABLE.into_response());
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response.extensions_mut().insert(Delayed);
    response.map(B::from)
}
