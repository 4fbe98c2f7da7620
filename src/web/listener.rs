//! Accepts connections and serves requests on them until shutdown.
//!
//! It replaces `axum::serve`, which limits neither the time for a request's head nor the time to drain.
//! `connections` limits the resources that clients hold.

mod delay;
mod served_connection;

use std::{
    convert::Infallible,
    error::Error,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{Request, Response},
};
use served_connection::ServedConnection;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use super::connections::{ClientBody, Connections, ListenerRole};
use crate::{
    config::{Networks, OperatorTokens},
    log::repeats::Repeats,
};

/// Pause after a failed accept. It fails mostly for lack of file descriptors, so an immediate retry would fail too.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Connections accepted before the loop yields. Without yielding, a burst of new connections would delay all requests on
/// existing ones.
const ACCEPTS_PER_YIELD: u64 = 16;

/// A bound address and the service on it.
#[derive(Debug)]
pub(crate) struct Listener<S> {
    listener: TcpListener,
    role: ListenerRole,
    service: S,
}

/// Configuration that all listeners of a process share.
#[derive(Debug, Clone)]
pub(crate) struct ListenerPolicy {
    pub(crate) connections: Connections,
    /// Proxies whose connections carry requests of many clients.
    pub(crate) trusted_proxies: Networks,
    /// Tokens that are accepted on connections reserved for operators.
    pub(crate) operator_tokens: OperatorTokens,
    /// Maximum time for requests in flight to complete after shutdown has begun.
    pub(crate) drain_timeout: Duration,
}

/// A service that listeners can serve.
pub(crate) trait HttpService<B>:
    Service<Request<ClientBody>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S, B> HttpService<B> for S where
    S: Service<Request<ClientBody>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// A body that listeners can send.
pub(crate) trait SentBody:
    HttpBody<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + From<Body> + Send + Unpin + 'static
{
}

impl<B> SentBody for B where
    B: HttpBody<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + From<Body> + Send + Unpin + 'static
{
}

impl<S> Listener<S> {
    pub(crate) fn new(listener: TcpListener, role: ListenerRole, service: S) -> Self {
        Self { listener, role, service }
    }

    /// Returns the local address.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Serves until `stop` is cancelled, then waits for requests in flight, at most for the drain timeout.
pub(crate) async fn serve<S: HttpService<B>, B: SentBody>(
    listener: Listener<S>,
    policy: ListenerPolicy,
    stop: CancellationToken,
) {
    let (tasks, drain) = (TaskTracker::new(), Arc::new(DrainSignal::default()));
    for turn in 1_u64.. {
        if turn.is_multiple_of(ACCEPTS_PER_YIELD) {
            tokio::task::yield_now().await;
        }
        let accept = async {
            let descriptor = policy.connections.acquire_descriptor().await;
            (listener.listener.accept().await, descriptor)
        };
        let (accepted, descriptor) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // If the connection is rejected, dropping `stream` closes it.
                let is_trusted = policy.trusted_proxies.contain(peer.ip().to_canonical());
                if let Some(opened) = policy.connections.open(listener.role, is_trusted) {
                    let connection =
                        ServedConnection { peer, opened, drain: Arc::clone(&drain), policy: policy.clone() };
                    let serving = connection.run(stream, listener.service.clone());
                    tasks.spawn(async move {
                        serving.await;
                        drop(descriptor);
                    });
                }
            }
            Err(error) => {
                static FAILURES: Repeats =
                    Repeats::new(|count| tracing::warn!(count, "further attempts to accept a connection failed"));
                FAILURES.record(|| tracing::warn!(%error, "accepting a connection failed"));
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
    drop(listener.listener);
    drain.begin();
    tasks.close();
    if tokio::time::timeout(policy.drain_timeout, tasks.wait()).await.is_err() {
        tracing::warn!("drain timeout exceeded; requests in flight are aborted");
    }
}

/// Signals connections to close once they have answered the requests that they have read.
#[derive(Debug, Default)]
struct DrainSignal {
    begun: AtomicBool,
    token: CancellationToken,
}

impl DrainSignal {
    fn begin(&self) {
        // Set before waking: a woken task must see the flag.
        self.begun.store(true, Ordering::Release);
        self.token.cancel();
    }

    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }
}
