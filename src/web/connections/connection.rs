//! One connection: its requests, what it holds, and how it ends.

mod exchange;

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

pub(in crate::web) use exchange::Exchange;
use futures_util::task::AtomicWaker;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Bound, ClientPatience, MAX_UNSENT_PER_CONNECTION, Patience, Shared, Surface, millis};
use crate::sync::MutexExt;

/// So many streams of one connection are worked on at a time, until they are answered; others wait.
const STREAMS_AT_A_TIME: usize = 8;

/// How a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(in crate::web) enum Ending {
    /// Not yet.
    No,
    /// Once the requests on it are answered.
    Gracefully,
    /// Now.
    AtOnce,
}

/// A connection.
#[derive(Debug)]
pub(in crate::web) struct Connection {
    shared: Arc<Shared>,
    id: u64,
    kind: Kind,
    is_http2: AtomicBool,
    /// Whether it has shown that it is an operator's or a health check's.
    is_proven: AtomicBool,
    /// When the client last sent or took something, in milliseconds of the process' clock.
    last_progress: AtomicU64,
    /// Requests that this process works on: no one waits for the client.
    working: AtomicUsize,
    requests: AtomicUsize,
    unsent: AtomicU64,
    streams: AtomicUsize,
    turns: Semaphore,
    /// Responses that are ready and wait for their time.
    delayed: AtomicUsize,
    exchanges: Mutex<Vec<Weak<Exchange>>>,
    /// The HTTP/2 stream that was begun and has no task yet.
    begun: Mutex<Option<Arc<Exchange>>>,
    ending: AtomicU8,
    waker: AtomicWaker,
}

/// How a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) struct Kind {
    pub(in crate::web) surface: Surface,
    /// Whether a trusted proxy speaks on it, for many clients.
    pub(in crate::web) is_trusted: bool,
    /// Whether it was taken though there were as many as may be: only operators and health checks are served on it.
    pub(in crate::web) is_above_cap: bool,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, id: u64, kind: Kind) -> Self {
        Self {
            // Read exactly: the process' clock is up to a sweep behind, and would make a newcomer look idle.
            last_progress: AtomicU64::new(shared.now().max(millis(shared.started.elapsed()))),
            shared,
            id,
            kind,
            is_http2: AtomicBool::new(false),
            is_proven: AtomicBool::new(false),
            working: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            unsent: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
            turns: Semaphore::new(STREAMS_AT_A_TIME),
            delayed: AtomicUsize::new(0),
            exchanges: Mutex::default(),
            begun: Mutex::default(),
            ending: AtomicU8::new(Ending::No as u8),
            waker: AtomicWaker::new(),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(in crate::web) fn kind(&self) -> Kind {
        self.kind
    }

    /// Notes that an operator or a health check speaks on it.
    pub(in crate::web) fn prove(&self) {
        self.is_proven.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_proven(&self) -> bool {
        self.is_proven.load(Ordering::Relaxed)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn last_progress(&self) -> u64 {
        self.last_progress.load(Ordering::Relaxed)
    }

    /// How many requests it has brought.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether it waits for its client.
    pub(super) fn is_idle(&self) -> bool {
        self.working.load(Ordering::Relaxed) == 0
    }

    /// Which bound of its own, or share of a process' bound that is reached, it is above with the stream just begun.
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
        *lock(&self.begun) = Some(Arc::clone(&exchange));
        exchange
    }

    /// Begins an exchange of an HTTP/1.1 connection, which has one at a time: the one in `spare`, unless it is in use.
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
        let mut exchanges = lock(&self.exchanges);
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

    /// The stream that was begun last, for the task that its connection spawns for it.
    pub(super) fn take_begun(&self) -> Option<Arc<Exchange>> {
        lock(&self.begun).take()
    }

    /// How many streams were begun before the last one and have not ended.
    pub(super) fn streams_ahead(&self) -> usize {
        self.streams.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Waits until a stream with so many `ahead` may be worked on; it may until the result is dropped. A client that begins
    /// a hundred at once would have all others wait until the last of them is answered. A trusted proxy has many clients.
    pub(super) async fn turn(&self, ahead: usize) -> Option<SemaphorePermit<'_>> {
        if self.kind.is_trusted {
            return None;
        }
        // What is answered at once holds no permit while others look.
        for _ in 0..ahead / STREAMS_AT_A_TIME {
            tokio::task::yield_now().await;
        }
        // It is never closed.
        self.turns.acquire().await.ok()
    }

    /// Ends it, unless it ends sooner already.
    pub(in crate::web) fn end(&self, ending: Ending) {
        if self.ending.fetch_max(ending as u8, Ordering::AcqRel) < ending as u8 {
            self.waker.wake();
        }
    }

    /// How it is to end.
    pub(in crate::web) fn ending(&self) -> Ending {
        match self.ending.load(Ordering::Acquire) {
            0 => Ending::No,
            1 => Ending::Gracefully,
            _ => Ending::AtOnce,
        }
    }

    /// Has its task woken when it is to end.
    pub(in crate::web) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Ends exchanges whose client has been waited for longer than `patience`; returns how many.
    pub(super) fn end_stalled(&self, now: u64, patience: ClientPatience) -> u64 {
        let mut stalled = Vec::new();
        lock(&self.exchanges).retain(|exchange| {
            let exchange = exchange.upgrade();
            let is_live = exchange.is_some();
            stalled.extend(exchange.filter(|exchange| exchange.is_stalled(now, patience)));
            is_live
        });
        // Dropped after the lock: the last clone of an exchange tells its connection.
        stalled.iter().filter(|exchange| exchange.cancel()).count() as u64
    }

    /// Ends an HTTP/2 connection without requests; what its client owes in the end is bounded too.
    pub(super) fn end_unused(&self, now: u64, patience: &Patience) {
        let is_unused = self.is_http2.load(Ordering::Relaxed)
            && lock(&self.exchanges).iter().all(|exchange| exchange.strong_count() == 0);
        if !is_unused {
            return;
        }
        let idle = Duration::from_millis(now.saturating_sub(self.last_progress()));
        if idle > patience.http2_idle_timeout + patience.header_timeout {
            self.end(Ending::AtOnce);
        } else if idle > patience.http2_idle_timeout {
            self.end(Ending::Gracefully);
        }
    }

    fn touch(&self) {
        self.last_progress.store(self.shared.now(), Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.locked()
}
