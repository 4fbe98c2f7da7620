//! Accepts connections and serves requests on them until told to stop.
//!
//! axum's own `serve` bounds neither the time for a request's head nor the time to drain, so the loop is ours.
//! `connections` bounds what clients hold open.

mod conversation;
mod delay;

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
use conversation::Conversation;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use super::connections::{ClientBody, Connections, Surface};
use crate::{
    config::{Networks, OperatorTokens},
    log::repeats::Repeats,
};

/// How long to wait after a failed accept: it fails when descriptors run out, and would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// So many connections are accepted before what else there is to do is done: a thousand that come at once are as many heads of
/// requests, and all others would wait for the last of them.
const ACCEPTED_AT_ONCE: u64 = 16;

/// A bound address and what is served there.
#[derive(Debug)]
pub(crate) struct Listener<S> {
    listener: TcpListener,
    surface: Surface,
    service: S,
}

/// What a process' listeners share.
#[derive(Debug, Clone)]
pub(crate) struct ListenerPolicy {
    /// The process' connections.
    pub(crate) connections: Connections,
    /// Proxies, on whose connections many clients speak.
    pub(crate) trusted_proxies: Networks,
    /// What opens the connections above the cap that are kept for operators.
    pub(crate) operator_tokens: OperatorTokens,
    /// How long requests under way may take once told to stop.
    pub(crate) drain_timeout: Duration,
}

/// A service that listeners can serve.
pub(crate) trait Served<B>:
    Service<Request<ClientBody>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S, B> Served<B> for S where
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
    /// Serves `service` on what `listener` accepts.
    pub(crate) fn new(listener: TcpListener, surface: Surface, service: S) -> Self {
        Self { listener, surface, service }
    }

    /// The address that it got.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Serves until `stop`, then lets requests under way end, but not longer than the drain timeout.
pub(crate) async fn serve<S: Served<B>, B: SentBody>(
    listener: Listener<S>,
    policy: ListenerPolicy,
    stop: CancellationToken,
) {
    let (tasks, closing) = (TaskTracker::new(), Arc::new(Closing::default()));
    for turn in 1_u64.. {
        if turn.is_multiple_of(ACCEPTED_AT_ONCE) {
            tokio::task::yield_now().await;
        }
        let accept = async {
            let descriptor = policy.connections.descriptor().await;
            (listener.listener.accept().await, descriptor)
        };
        let (accepted, descriptor) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Without room it is closed.
                let is_trusted = policy.trusted_proxies.contain(peer.ip().to_canonical());
                if let Some(opened) = policy.connections.open(listener.surface, is_trusted) {
                    let conversation =
                        Conversation { peer, opened, closing: Arc::clone(&closing), policy: policy.clone() };
                    let serving = conversation.run(stream, listener.service.clone());
                    tasks.spawn(async move {
                        serving.await;
                        drop(descriptor);
                    });
                }
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
    tasks.close();
    if tokio::time::timeout(policy.drain_timeout, tasks.wait()).await.is_err() {
        tracing::warn!("requests were still under way when the drain timeout ended");
    }
}

/// Tells connections to end once they have answered what they read.
#[derive(Debug, Default)]
struct Closing {
    begun: AtomicBool,
    token: CancellationToken,
}

impl Closing {
    fn begin(&self) {
        // In this order: who is woken finds that it has begun.
        self.begun.store(true, Ordering::Release);
        self.token.cancel();
    }

    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }
}
