//! The connections of a process, and the bounds on what clients can hold open.
//!
//! A connection that waits for its client is idle, whether for a request, for the rest of a body, or for room in its window.
//! At the cap idle connections give way: those with few requests first, and of these the longest idle. A response is ended once a piece of it has been waiting
//! for the client longer than `send_timeout`. While a bound of the process is reached, responses and bodies are waited for
//! [`PRESSED_PATIENCE`] only, and requests are refused on connections that hold more than their share: never on one that
//! holds nothing.

mod bodies;
mod connection;
mod streams;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

pub(super) use bodies::Outgoing;
pub(crate) use bodies::{ClientBody, SharedBody};
pub(super) use connection::{Connection, Ending, Exchange, Kind};
pub(super) use streams::StreamExecutor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    descriptors::{self, Needs, TooFewDescriptors},
    log::repeats::Repeats,
    metrics::Sample,
    sync::MutexExt,
    ticks::Ticks,
};

/// Response bytes that may wait for one client.
const MAX_UNSENT_PER_CONNECTION: u64 = 4 << 20;

/// Response bytes that may wait for all clients together.
const MAX_UNSENT: u64 = 64 << 20;

/// How long a client is waited for while a bound of the process is reached.
const PRESSED_PATIENCE: Duration = Duration::from_secs(1);

/// The share of the connections that one HTTP/2 connection may have as streams.
const STREAMS_SHARE: usize = 16;

/// Streams that an HTTP/2 connection may open, however many connections there may be.
const STREAMS_PER_CONNECTION: std::ops::RangeInclusive<usize> = 16..=200;

/// The share of the connections that is kept for operators and health checks.
const OPERATORS_SHARE: usize = 16;

/// Connections that have been evicted or refused and are not closed yet.
const CLOSING: usize = 32;

/// So many requests make a connection one that is used.
const ESTABLISHED: usize = 4;

/// The share of the connections that gives way at once, so that looking for the oldest costs each newcomer little.
const EVICTED_SHARE: usize = 100;

/// Which listener a connection came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    /// `listen`.
    Public,
    /// `operator_listen`.
    Operators,
}

/// Why a request is refused on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Too many bytes wait for the client.
    Unsent,
    /// The connection has too many streams.
    Streams,
}

/// How long the sweep waits for a client.
#[derive(Debug, Clone, Copy)]
struct ClientPatience {
    /// To receive a piece of a response.
    response: Duration,
    /// To send a whole body, where anything but its reader bounds that.
    body: Option<Duration>,
}

/// The time that clients have for each step.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the head of a request.
    pub header_timeout: Duration,
    /// To take a piece of a response.
    pub send_timeout: Duration,
    /// Between two requests of an HTTP/2 connection.
    pub http2_idle_timeout: Duration,
}

/// The connections of a process; clones share them.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    patience: Patience,
    max_open: usize,
    started: Instant,
    /// Milliseconds since `started`, as of the last sweep: cheaper to read than a clock.
    now: AtomicU64,
    next_id: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    /// A permit for each descriptor of a connection: one that is evicted has its own until its task has ended.
    descriptors: Arc<Semaphore>,
    streams: AtomicUsize,
    unsent: AtomicU64,
    /// How many are open.
    count: AtomicUsize,
    refused: AtomicU64,
    evicted: AtomicU64,
    stalled: AtomicU64,
    above_cap: AtomicU64,
    exceeded: AtomicU64,
}

/// A connection among the open ones; dropping it takes it out.
#[derive(Debug)]
pub(super) struct Opened(pub(super) Arc<Connection>);

impl Drop for Opened {
    fn drop(&mut self) {
        let shared = self.0.shared();
        let mut open = shared.open();
        open.remove(&self.0.id());
        shared.count.store(open.len(), Ordering::Relaxed);
    }
}

impl Connections {
    /// None yet, and at most `max_open`, besides those kept for operators.
    pub fn new(max_open: usize, patience: Patience) -> Self {
        Self(Arc::new(Shared {
            patience,
            max_open,
            started: Instant::now(),
            now: AtomicU64::new(0),
            next_id: AtomicU64::new(0),
            open: Mutex::default(),
            descriptors: Arc::new(Semaphore::new(max_open + Self::kept_for_operators(max_open) + CLOSING)),
            streams: AtomicUsize::new(0),
            unsent: AtomicU64::new(0),
            count: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            above_cap: AtomicU64::new(0),
            exceeded: AtomicU64::new(0),
        }))
    }

    /// As many as are `wanted`, or as the limit on descriptors allows.
    ///
    /// # Errors
    /// [`TooFewDescriptors`] if more are wanted than fit.
    pub(crate) fn fitting(wanted: Option<usize>, patience: Patience, needs: Needs) -> Result<Self, TooFewDescriptors> {
        let limit = descriptors::raise_limit();
        let max_open = descriptors::max_connections(wanted, limit, needs, Self::kept_for_operators)?;
        Ok(Self::new(max_open, patience))
    }

    /// How many are kept for operators and health checks besides `max_open` others.
    pub fn kept_for_operators(max_open: usize) -> usize {
        (max_open / OPERATORS_SHARE).max(4)
    }

    pub(super) fn patience(&self) -> Patience {
        self.0.patience
    }

    /// How many streams an HTTP/2 connection may have; one of a trusted proxy has those of many clients.
    pub(super) fn streams_per_connection(&self, is_trusted: bool) -> u32 {
        let (min, max) = (*STREAMS_PER_CONNECTION.start(), *STREAMS_PER_CONNECTION.end());
        let streams = if is_trusted { max } else { (self.0.max_open / STREAMS_SHARE).clamp(min, max) };
        u32::try_from(streams).unwrap_or(u32::MAX)
    }

    /// Counts a request that was refused on a connection above the cap.
    pub(super) fn count_above_cap(&self) {
        static REFUSED: Repeats =
            Repeats::new(|count| tracing::warn!(count, "more requests refused above max_open_connections"));
        self.0.above_cap.fetch_add(1, Ordering::Relaxed);
        REFUSED.record(|| tracing::warn!(max_open = self.0.max_open, "request refused above max_open_connections"));
    }

    /// Counts a request that was refused because its connection holds too much.
    pub(super) fn count_exceeded(&self, bound: Bound) {
        static REFUSED: Repeats =
            Repeats::new(|count| tracing::warn!(count, "more requests refused on connections that hold too much"));
        self.0.exceeded.fetch_add(1, Ordering::Relaxed);
        REFUSED.record(|| tracing::warn!(?bound, "request refused on a connection that holds too much"));
    }

    /// How many there are and what has happened to them, for Prometheus.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let shared = &self.0;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        vec![
            Sample::gauge("connections_open", "Connections with clients").value(shared.open().len() as f64),
            Sample::gauge("connections_limit", "Connections that may be open, those kept for operators left out")
                .value(shared.max_open as f64),
            Sample::counter("connections_refused", "Connections closed at once, as all others were busy")
                .value(count(&shared.refused)),
            Sample::counter("connections_evicted", "Idle connections closed to make room for new ones")
                .value(count(&shared.evicted)),
            Sample::counter(
                "connection_requests_refused",
                "Requests refused because of what their connection holds or is",
            )
            .labelled([("reason", "above_cap")], count(&shared.above_cap))
            .labelled([("reason", "held")], count(&shared.exceeded)),
            Sample::gauge("http2_streams", "HTTP/2 streams under way")
                .value(shared.streams.load(Ordering::Relaxed) as f64),
            Sample::counter("exchanges_stalled", "Requests and responses ended because of their clients' delay")
                .value(count(&shared.stalled)),
            Sample::gauge("responses_unsent_bytes", "Bytes of large responses that wait for clients")
                .value(count(&shared.unsent)),
        ]
    }

    /// Waits until there is a descriptor for another connection. It is free again when what is returned is dropped.
    pub(super) async fn descriptor(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.descriptors).acquire_owned().await.ok()
    }

    /// Takes a connection in, in the place of idle ones if need be; none if there is no room at all.
    pub(super) fn open(&self, surface: Surface, is_trusted: bool) -> Option<Opened> {
        let shared = &self.0;
        let kept = Self::kept_for_operators(shared.max_open);
        let cap = match surface {
            Surface::Public => shared.max_open,
            Surface::Operators => shared.max_open + kept,
        };
        let mut open = shared.open();
        if open.len() >= cap {
            shared.evict(&mut open, surface);
        }
        let is_above_cap = open.len() >= cap;
        if open.len() >= shared.max_open + kept && !shared.evict_unproven(&mut open) {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let kind = Kind { surface, is_trusted, is_above_cap };
        let connection = Arc::new(Connection::new(Arc::clone(shared), id, kind));
        open.insert(id, Arc::clone(&connection));
        shared.count.store(open.len(), Ordering::Relaxed);
        Some(Opened(connection))
    }

    /// Ends what clients keep waiting, and HTTP/2 connections that are not used, until `stop`.
    pub(crate) async fn sweep(self, stop: CancellationToken) {
        let mut ticks = Ticks::every(self.0.sweep_interval());
        while ticks.next_until(&stop).await {
            self.0.sweep(self.0.started.elapsed());
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.locked()
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn sweep_interval(&self) -> Duration {
        let shortest = self.patience.send_timeout.min(self.patience.http2_idle_timeout);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_millis(250))
    }

    fn has_much_unsent(&self) -> bool {
        self.unsent.load(Ordering::Relaxed) > MAX_UNSENT
    }

    fn has_many_streams(&self) -> bool {
        self.streams.load(Ordering::Relaxed) > self.max_open
    }

    /// How many streams each open connection may have where all have as many.
    fn fair_streams(&self) -> usize {
        (self.max_open / self.count.load(Ordering::Relaxed).max(1)).max(1)
    }

    /// Ends connections below the cap that are idle: of those with the fewest requests the one that has been idle longest goes
    /// first, so that a flood of new ones displaces itself. Those of operators give way to operators only.
    fn evict(&self, open: &mut HashMap<u64, Arc<Connection>>, newcomer: Surface) {
        let may_go = |connection: &&Arc<Connection>| {
            let Kind { surface, is_above_cap, .. } = connection.kind();
            connection.is_idle() && !is_above_cap && (surface == Surface::Public || newcomer == Surface::Operators)
        };
        let mut idle: Vec<(usize, u64, u64)> = open
            .values()
            .filter(may_go)
            .map(|connection| {
                (connection.requests().clamp(1, ESTABLISHED), connection.last_progress(), connection.id())
            })
            .collect();
        let going = (self.max_open / EVICTED_SHARE).max(1).min(idle.len());
        if going > 0 && going < idle.len() {
            idle.select_nth_unstable(going - 1);
        }
        idle.iter().take(going).for_each(|(_, _, id)| self.end_evicted(open, *id));
    }

    /// Ends the oldest connection above the cap that has not shown to be an operator's; false if there is none.
    fn evict_unproven(&self, open: &mut HashMap<u64, Arc<Connection>>) -> bool {
        let is_unproven = |connection: &&Arc<Connection>| connection.kind().is_above_cap && !connection.is_proven();
        let oldest = open.values().filter(is_unproven).map(|connection| connection.id()).min();
        oldest.inspect(|id| self.end_evicted(open, *id)).is_some()
    }

    fn end_evicted(&self, open: &mut HashMap<u64, Arc<Connection>>, id: u64) {
        if let Some(connection) = open.remove(&id) {
            connection.end(Ending::AtOnce);
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn sweep(&self, elapsed: Duration) {
        let now = millis(elapsed);
        self.now.store(now, Ordering::Relaxed);
        let patience = &self.patience;
        let pressed = self.has_much_unsent() || self.has_many_streams();
        let client_patience = if pressed {
            ClientPatience { response: PRESSED_PATIENCE.min(patience.send_timeout), body: Some(PRESSED_PATIENCE) }
        } else {
            ClientPatience { response: patience.send_timeout, body: None }
        };
        let connections: Vec<Arc<Connection>> = self.open().values().cloned().collect();
        for connection in connections {
            let stalled = connection.end_stalled(now, client_patience);
            self.stalled.fetch_add(stalled, Ordering::Relaxed);
            connection.end_unused(now, patience);
        }
    }
}

#[cfg(test)]
mod tests;
