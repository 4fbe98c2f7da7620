//! The state of one connection: its requests, the resources that it holds, and its shutdown.

mod exchange;

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

pub(in crate::web) use exchange::Exchange;
use futures_util::task::AtomicWaker;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Bound, ClientTimeouts, ExchangeTimeouts, ListenerRole, MAX_UNSENT_PER_CONNECTION, Shared};
use crate::sync::MutexExt;

/// Streams of one connection that are processed concurrently, until their responses begin. Others wait.
const MAX_CONCURRENT_STREAMS: usize = 8;

/// The requested shutdown of a connection. Later variants take precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(in crate::web) enum Shutdown {
    None,
    /// After the requests on it have been answered.
    Graceful,
    Immediate,
}

#[derive(Debug)]
pub(in crate::web) struct Connection {
    shared: Arc<Shared>,
    id: u64,
    kind: ConnectionKind,
    is_http2: AtomicBool,
    /// Whether an operator or a health check has sent a request on it.
    is_privileged: AtomicBool,
    /// When the client last sent or received something, in milliseconds since [`Shared::started`].
    last_progress: AtomicU64,
    /// Requests that the process is working on, as opposed to waiting for the client.
    working: AtomicUsize,
    requests: AtomicUsize,
    unsent: AtomicU64,
    streams: AtomicUsize,
    turns: Semaphore,
    /// Responses that are ready and held back by a delay.
    delayed: AtomicUsize,
    exchanges: Mutex<Vec<Weak<Exchange>>>,
    /// The HTTP/2 stream that has begun and has no task yet.
    pending_stream: Mutex<Option<Arc<Exchange>>>,
    shutdown: AtomicU8,
    waker: AtomicWaker,
}

/// Properties of a connection that are known when it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) struct ConnectionKind {
    pub(in crate::web) role: ListenerRole,
    /// Whether the peer is a trusted proxy, which has many clients.
    pub(in crate::web) is_trusted: bool,
    /// Whether it was accepted above the cap. Only operators and health checks are served on it.
    pub(in crate::web) is_above_cap: bool,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, id: u64, kind: ConnectionKind) -> Self {
        Self {
            // `now()` would make a new connection look idle.
            last_progress: AtomicU64::new(shared.exact_now()),
            shared,
            id,
            kind,
            is_http2: AtomicBool::new(false),
            is_privileged: AtomicBool::new(false),
            working: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            unsent: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
            turns: Semaphore::new(MAX_CONCURRENT_STREAMS),
            delayed: AtomicUsize::new(0),
            exchanges: Mutex::default(),
            pending_stream: Mutex::default(),
            shutdown: AtomicU8::new(Shutdown::None as u8),
            waker: AtomicWaker::new(),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(in crate::web) fn kind(&self) -> ConnectionKind {
        self.kind
    }

    /// Records that an operator or a health check has sent a request on it.
    pub(in crate::web) fn mark_privileged(&self) {
        self.is_privileged.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_privileged(&self) -> bool {
        self.is_privileged.load(Ordering::Relaxed)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn last_progress(&self) -> u64 {
        self.last_progress.load(Ordering::Relaxed)
    }

    /// Returns how many requests it has received.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Returns whether it waits for its client.
    pub(super) fn is_idle(&self) -> bool {
        self.working.load(Ordering::Relaxed) == 0
    }

    /// Returns the limit that the connection exceeds, including the stream that has just begun: a limit of its own, or its
    /// share of an exceeded limit of the process.
    pub(in crate::web) fn exceeded(&self) -> Option<Bound> {
        let unsent = self.unsent.load(Ordering::Relaxed);
        if (unsent > MAX_UNSENT_PER_CONNECTION && !self.kind.is_trusted)
            || (unsent > 0 && self.shared.has_much_unsent())
        {
            return Some(Bound::Unsent);
        }
        let has_many = || self.streams.load(Ordering::Relaxed) > self.shared.fair_streams();
        (self.shared.has_many_streams() && has_many()).then_some(Bound::Streams)
    }

    /// Begins the exchange of an HTTP/2 stream.
    pub(in crate::web) fn begin_stream(self: &Arc<Self>) -> Arc<Exchange> {
        let exchange = self.create_exchange(true);
        self.count_request();
        self.is_http2.store(true, Ordering::Relaxed);
        self.shared.streams.fetch_add(1, Ordering::Relaxed);
        self.streams.fetch_add(1, Ordering::Relaxed);
        *self.pending_stream.locked() = Some(Arc::clone(&exchange));
        exchange
    }

    /// Begins an exchange of an HTTP/1.1 connection. Reuses the one in `spare`, unless it is still in use.
    pub(in crate::web) fn begin(self: &Arc<Self>, spare: &Cell<Option<Arc<Exchange>>>) -> Arc<Exchange> {
        let exchange = match spare.take().filter(|spare| Arc::strong_count(spare) == 1) {
            Some(spare) => {
                spare.renew();
                spare
            }
            None => self.create_exchange(false),
        };
        self.count_request();
        spare.set(Some(Arc::clone(&exchange)));
        exchange
    }

    fn create_exchange(self: &Arc<Self>, is_stream: bool) -> Arc<Exchange> {
        let exchange = Arc::new(Exchange::new(Arc::clone(self), is_stream));
        let mut exchanges = self.exchanges.locked();
        if exchanges.len() == exchanges.capacity() {
            exchanges.retain(|exchange| exchange.strong_count() > 0);
        }
        exchanges.push(Arc::downgrade(&exchange));
        exchange
    }

    fn count_request(&self) {
        self.touch();
        self.working.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the stream that has begun and has no task yet.
    pub(super) fn take_pending_stream(&self) -> Option<Arc<Exchange>> {
        self.pending_stream.locked().take()
    }

    /// Returns how many streams began before the latest one and have not ended.
    pub(super) fn streams_ahead(&self) -> usize {
        self.streams.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Waits until a stream with `ahead` streams before it may be processed. It may be processed until the permit is dropped.
    ///
    /// Without turns, a client that begins a hundred streams at once would delay all other clients. Trusted proxies are exempt,
    /// because they have many clients.
    pub(super) async fn turn(&self, ahead: usize) -> Option<SemaphorePermit<'_>> {
        if self.kind.is_trusted {
            return None;
        }
        // Requests that are answered immediately release their permits before others check, so permits alone ensure no fairness.
        for _ in 0..ahead / MAX_CONCURRENT_STREAMS {
            tokio::task::yield_now().await;
        }
        // The semaphore is never closed.
        self.turns.acquire().await.ok()
    }

    /// Requests a shutdown, unless the same or an earlier one has been requested.
    pub(in crate::web) fn shut_down(&self, shutdown: Shutdown) {
        if self.shutdown.fetch_max(shutdown as u8, Ordering::AcqRel) < shutdown as u8 {
            self.waker.wake();
        }
    }

    pub(in crate::web) fn shutdown(&self) -> Shutdown {
        match self.shutdown.load(Ordering::Acquire) {
            0 => Shutdown::None,
            1 => Shutdown::Graceful,
            _ => Shutdown::Immediate,
        }
    }

    /// Registers the waker of its task for shutdown requests.
    pub(in crate::web) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Aborts exchanges whose client has exceeded `timeouts`; returns how many.
    pub(super) fn abort_stalled(&self, now: u64, timeouts: ExchangeTimeouts) -> u64 {
        let mut stalled = Vec::new();
        self.exchanges.locked().retain(|exchange| {
            let exchange = exchange.upgrade();
            let is_live = exchange.is_some();
            stalled.extend(exchange.filter(|exchange| exchange.is_stalled(now, timeouts)));
            is_live
        });
        // Dropped after the lock is released, because dropping the last clone of an exchange updates the connection.
        stalled.iter().filter(|exchange| exchange.cancel()).count() as u64
    }

    /// Closes an unused HTTP/2 connection: gracefully at first, and immediately if the client does not respond.
    pub(super) fn close_unused(&self, now: u64, timeouts: &ClientTimeouts) {
        let is_unused = self.is_http2.load(Ordering::Relaxed)
            && self.exchanges.locked().iter().all(|exchange| exchange.strong_count() == 0);
        if !is_unused {
            return;
        }
        let idle = Duration::from_millis(now.saturating_sub(self.last_progress()));
        if idle > timeouts.http2_idle_timeout + timeouts.header_timeout {
            self.shut_down(Shutdown::Immediate);
        } else if idle > timeouts.http2_idle_timeout {
            self.shut_down(Shutdown::Graceful);
        }
    }

    fn touch(&self) {
        self.last_progress.store(self.shared.now(), Ordering::Relaxed);
    }
}
