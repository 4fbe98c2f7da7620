//! One connection, from its first byte to its last.

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
    Closing, ListenerPolicy, SentBody, Served,
    delay::{delay, is_delayed},
};
use crate::web::{
    auth,
    connections::{ClientBody, Connection, Ending, Exchange, Kind, Opened, Outgoing, StreamExecutor},
    default_headers,
    problem::{Delayed, Problem, ProblemKind},
    timers::SpareTimer,
};

/// The largest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Request bytes that HTTP/2 clients may send ahead of what is read, on one stream and on all.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// How much of a body that is not wanted is read before its request is answered, in bytes, and for how long.
const MAX_DISCARDED: usize = 2 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection above the cap may take to show that it is an operator's.
const PROOF_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that is served.
pub(super) struct Conversation {
    pub(super) peer: SocketAddr,
    pub(super) opened: Opened,
    pub(super) closing: Arc<Closing>,
    pub(super) policy: ListenerPolicy,
}

impl Conversation {
    /// Serves `service` on the connection until its end.
    pub(super) async fn run<S: Served<B>, B: SentBody>(self, stream: TcpStream, service: S) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let patience = self.policy.connections.patience();
        let builder = self.builder();
        let first_request = Arc::new(Notify::new());
        let connection = Arc::clone(&self.opened.0);
        let Kind { is_above_cap, is_trusted, .. } = connection.kind();
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
                // Which is ready at any time, as it holds nothing back.
                let mut service = service.clone();
                Either::Right(if is_http2 {
                    // What serves a request is large, so a stream's is made once it has its turn.
                    Either::Left(Box::pin(async move { service.call(request).await }))
                } else {
                    Either::Right(service.call(request))
                })
            };
            answer.then(move |answered| {
                let Ok(response) = answered;
                // One that waits to be told to go on has sent nothing.
                let unread = if has_body { exchange.take_unread().filter(|_| !expects_continue) } else { None };
                // Others are on a proxy's connection too; a gateway delays them itself.
                let is_delayed = is_delayed(&response) && !is_trusted;
                if unread.is_none() && !is_delayed {
                    Either::Left(ready(Ok::<_, Infallible>(Outgoing::response(response, exchange))))
                } else {
                    Either::Right(Box::pin(hold_back(response, unread, is_delayed, exchange).map(Ok)))
                }
            })
        });
        // hyper would wait for ever, and whatever the response holds with it.
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(patience.send_timeout));
        let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(Box::pin(stream)), service));
        let mut closing = std::pin::pin!(self.closing.token.cancelled());
        let (mut asked, mut is_ending, mut registered) = (false, false, None);
        let mut serving = poll_fn(|cx: &mut Context<'_>| {
            // Registered again once an ending was seen: it may be followed by a sooner one.
            let ending = self.opened.0.ending();
            if registered != Some(ending) {
                self.opened.0.register(cx.waker());
                registered = Some(ending);
            }
            let ending = self.opened.0.ending();
            // Asked once, so as to be woken, and then only when there is news: it takes a lock that all connections share.
            let mut closes = false;
            if !is_ending && (!asked || self.closing.has_begun()) {
                asked = true;
                closes = closing.as_mut().poll(cx).is_ready();
            }
            if !is_ending && (closes || ending == Ending::Gracefully) {
                is_ending = true;
                serving.as_mut().graceful_shutdown();
            }
            if ending == Ending::AtOnce { Poll::Ready(Ok(())) } else { serving.as_mut().poll(cx) }
        });
        // hyper times the head of a request, but not the wait for its first byte, nor that for HTTP/2's preface.
        let head_timeout =
            if is_above_cap { patience.header_timeout.min(PROOF_TIMEOUT) } else { patience.header_timeout };
        let first_request = tokio::time::timeout(head_timeout, first_request.notified());
        let ended = tokio::select! {
            ended = &mut serving => ended,
            first = first_request => match first {
                Ok(()) => (&mut serving).await,
                Err(_) => return tracing::debug!(%peer, "a connection brought no request in time"),
            },
        };
        // A client that breaks off or sends no HTTP is its own affair.
        if let Err(error) = ended {
            tracing::debug!(error = &*error as &dyn Error, %peer, "a connection ended early");
        }
    }

    fn builder(&self) -> Builder<StreamExecutor> {
        let connections = &self.policy.connections;
        let mut builder = Builder::new(StreamExecutor(Arc::clone(&self.opened.0)));
        builder
            .http1()
            .timer(SpareTimer::default())
            .header_read_timeout(connections.patience().header_timeout)
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

/// The response once `unread` has been read, and after its delay.
async fn hold_back<B: SentBody>(
    response: Response<B>,
    unread: Option<Incoming>,
    is_delayed: bool,
    exchange: Arc<Exchange>,
) -> Response<Outgoing<B>> {
    if let Some(unread) = unread {
        // Closed with bytes unread, the connection is reset, and the client may never see the response.
        discard(unread, &exchange).await;
    }
    let response = if is_delayed { delay(response, &exchange).await } else { response };
    Outgoing::response(response, exchange)
}

/// Reads on what nobody wants, within bounds.
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
        tracing::debug!("a body that is not wanted took too long");
    }
}

/// The answer to a request that its connection has no room for.
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
    if is_privileged(request, policy) {
        connection.prove();
        return None;
    }
    if is_above_cap {
        policy.connections.count_above_cap();
        // There may be room for the next one.
        connection.end(Ending::Gracefully);
        return Some(above_cap());
    }
    exceeded.map(|bound| {
        policy.connections.count_exceeded(bound);
        holds_too_much()
    })
}

/// Whether a request is served however many connections there are: those who watch or mend the service must get in.
fn is_privileged<R>(request: &Request<R>, policy: &ListenerPolicy) -> bool {
    request.uri().path().starts_with("/v1/health/")
        || auth::bearer(request.headers()).is_some_and(|token| policy.operator_tokens.accept(token))
}

/// The answer on a connection above the cap, which ends with it.
fn above_cap<B: SentBody>() -> Response<B> {
    let mut response = default_headers::complete(Problem::from(ProblemKind::Overloaded).unlogged().into_response());
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response.map(B::from)
}

/// The answer on a connection that holds too much. It has no body, which would be held too.
fn holds_too_much<B: SentBody>() -> Response<B> {
    let mut response = default_headers::complete(StatusCode::SERVICE_UNAVAILABLE.into_response());
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response.extensions_mut().insert(Delayed);
    response.map(B::from)
}
