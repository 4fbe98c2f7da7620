//! Accepts connections and serves requests on them until told to stop.
//!
//! axum's own `serve` bounds neither the time for a request's head nor the time to drain, so the loop is ours.

use std::{
    convert::Infallible,
    error::Error,
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::HttpBody,
    extract::ConnectInfo,
    http::{Request, Response},
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use super::timers::SpareTimer;
use crate::log::repeats::Repeats;

/// How long to wait after a failed accept: it fails when descriptors run out, and would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The largest head of a request, in bytes.
const LARGEST_HEAD: usize = 64 * 1024;

/// A bound address and what is served there.
#[derive(Debug)]
pub struct Listener<S> {
    listener: TcpListener,
    service: S,
}

/// How connections are treated.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// How long the head of a request may take.
    pub header_timeout: Duration,
    /// How long a client may read nothing of what is sent to it.
    pub send_timeout: Duration,
    /// How long requests under way may take once told to stop.
    pub drain_timeout: Duration,
}

impl<S> Listener<S> {
    /// Serves `service` on what `listener` accepts.
    pub fn new(listener: TcpListener, service: S) -> Self {
        Self { listener, service }
    }

    /// The address that it got.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Serves until `stop`, then lets requests under way end, but not longer than the drain timeout.
pub async fn serve<S, B>(listener: Listener<S>, limits: ConnectionLimits, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().header_read_timeout(limits.header_timeout).max_buf_size(LARGEST_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(200)
        .max_header_list_size(LARGEST_HEAD as u32)
        .keep_alive_interval(Some(Duration::from_secs(30)));
    let (connections, closing) = (TaskTracker::new(), Arc::new(Closing::default()));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (service, closing) = (listener.service.clone(), Arc::clone(&closing));
                connections.spawn(converse(builder.clone(), stream, peer, service, closing, limits));
            }
            Err(error) => {
                static FAILURES: Repeats =
                    Repeats::new(|count| tracing::warn!(count, "more attempts to accept a connection failed"));
                FAILURES.record(|| tracing::warn!(%error, "a connection could not be accepted"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener.listener);
    closing.begin();
    connections.close();
    if tokio::time::timeout(limits.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!("requests were still under way when the drain timeout ended");
    }
}

/// Tells connections to end once they have answered what they read.
#[derive(Debug, Default)]
struct Closing {
    begun: AtomicBool,
    told: CancellationToken,
}

impl Closing {
    fn begin(&self) {
        // In this order: who is woken finds that it has begun.
        self.begun.store(true, Ordering::Release);
        self.told.cancel();
    }

    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }
}

/// Serves one connection to its end.
async fn converse<S, B>(
    mut builder: Builder<TokioExecutor>,
    stream: TcpStream,
    peer: SocketAddr,
    service: S,
    closing: Arc<Closing>,
    limits: ConnectionLimits,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    builder.http1().timer(SpareTimer::default());
    let timer = SpareTimer::default();
    let spoken = Arc::new(Notify::new());
    let heard = Arc::clone(&spoken);
    let service = service_fn(move |mut request: Request<Incoming>| {
        heard.notify_one();
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(timer.clone());
        // Which is ready at any time, as it holds nothing back.
        service.clone().call(request)
    });
    // hyper would wait for ever, and whatever the response holds with it.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.send_timeout));
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(Box::pin(stream)), service));
    let mut told = std::pin::pin!(closing.told.cancelled());
    let (mut asked, mut ends) = (false, false);
    let mut connection = poll_fn(|cx| {
        // Asked once, so as to be woken, and then only when there is news: it takes a lock that all connections share.
        if !ends && (!asked || closing.has_begun()) {
            asked = true;
            ends = told.as_mut().poll(cx).is_ready();
            if ends {
                connection.as_mut().graceful_shutdown();
            }
        }
        connection.as_mut().poll(cx)
    });
    // hyper times the head of a request, but not the wait for its first byte, nor that for HTTP/2's preface.
    let first_request = tokio::time::timeout(limits.header_timeout, spoken.notified());
    let ended = tokio::select! {
        ended = &mut connection => ended,
        first = first_request => match first {
            Ok(()) => (&mut connection).await,
            Err(_) => return tracing::debug!(%peer, "a connection brought no request in time"),
        },
    };
    // A client that breaks off or sends no HTTP is its own affair.
    if let Err(error) = ended {
        tracing::debug!(error = &*error as &dyn Error, %peer, "a connection ended early");
    }
}
