//! The connections of a process, and limits on the resources that clients can hold.
//!
//! A connection is idle while it waits for its client: for a request, for the rest of a body, or for room in the send window.
//! At the cap, idle connections are evicted: those with few requests first, and of these the ones idle for longest. A response
//! is aborted once a piece of it has waited for the client longer than `send_timeout`.
//!
//! While a limit of the process is exceeded, clients have only [`SATURATED_TIMEOUT`] to receive a piece of a response or to
//! send a body. New requests are rejected on connections that hold more than their share, but never on one that holds nothing.

mod bodies;
mod connection;
mod eviction;
mod streams;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

pub(super) use bodies::OutgoingBody;
pub(crate) use bodies::{ClientBody, SharedBody};
pub(super) use connection::{Connection, ConnectionKind, Exchange, Shutdown};
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

/// Limit of unsent response bytes per connection.
const MAX_UNSENT_PER_CONNECTION: u64 = 4 << 20;

/// Limit of unsent response bytes of the process.
const MAX_UNSENT: u64 = 64 << 20;

/// Time that clients have for each step while a limit of the process is exceeded.
const SATURATED_TIMEOUT: Duration = Duration::from_secs(1);

/// An HTTP/2 connection may have a stream for every 16 connections of the cap.
const CONNECTIONS_PER_STREAM: usize = 16;

/// Bounds of the stream limit per HTTP/2 connection.
const STREAMS_PER_CONNECTION: std::ops::RangeInclusive<usize> = 16..=200;

/// A connection is reserved for operators and health checks for every 16 connections of the cap.
const CONNECTIONS_PER_RESERVED: usize = 16;

/// Descriptors for connections that have been evicted or rejected and are not closed yet.
const MAX_CLOSING: usize = 32;

/// The listener that accepted a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListenerRole {
    /// The address of the setting `listen`.
    Public,
    /// The address of the setting `operator_listen`.
    Operators,
}

/// A limit that a connection exceeds, so that its requests are rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Unsent response bytes.
    Unsent,
    /// HTTP/2 streams.
    Streams,
}

/// Time after which the sweep aborts an exchange that waits for its client.
#[derive(Debug, Clone, Copy)]
struct ExchangeTimeouts {
    /// For receiving a piece of a response.
    response: Duration,
    /// For sending the whole body; `None` if only the body's reader limits the time.
    body: Option<Duration>,
}

/// Time limits for clients.
#[derive(Debug, Clone, Copy)]
pub struct ClientTimeouts {
    /// For sending the head of a request.
    pub header_timeout: Duration,
    /// For receiving a piece of a response.
    pub send_timeout: Duration,
    /// Between two requests on an HTTP/2 connection.
    pub http2_idle_timeout: Duration,
}

/// The connections of a process; clones share the state.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    timeouts: ClientTimeouts,
    max_open: usize,
    started: Instant,
    /// Milliseconds since `started`, updated by each sweep. Reading it is cheaper than reading a clock.
    now: AtomicU64,
    next_id: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    /// One permit per file descriptor. An evicted connection keeps its permit until its task has ended.
    descriptors: Arc<Semaphore>,
    streams: AtomicUsize,
    unsent: AtomicU64,
    /// Length of `open`, readable without the lock.
    count: AtomicUsize,
    refused: AtomicU64,
    evicted: AtomicU64,
    stalled: AtomicU64,
    above_cap: AtomicU64,
    exceeded: AtomicU64,
}

/// A connection registered as open; dropping it removes the registration.
#[derive(Debug)]
pub(super) struct OpenConnection(pub(super) Arc<Connection>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let shared = self.0.shared();
        let mut open = shared.open();
        open.remove(&self.0.id());
        shared.count.store(open.len(), Ordering::Relaxed);
    }
}

impl Connections {
    /// Allows at most `max_open` connections, in addition to those reserved for operators.
    pub fn new(max_open: usize, timeouts: ClientTimeouts) -> Self {
        Self(Arc::new(Shared {
            timeouts,
            max_open,
            started: Instant::now(),
            now: AtomicU64::new(0),
            next_id: AtomicU64::new(0),
            open: Mutex::default(),
            descriptors: Arc::new(Semaphore::new(max_open + Self::reserved_for_operators(max_open) + MAX_CLOSING)),
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

    /// Allows `wanted` connections, or by default as many as the limit on file descriptors permits.
    ///
    /// # Errors
    /// [`TooFewDescriptors`] if `wanted` exceeds the limit.
    pub(crate) fn within_descriptor_limit(
        wanted: Option<usize>,
        timeouts: ClientTimeouts,
        needs: Needs,
    ) -> Result<Self, TooFewDescriptors> {
        let limit = descriptors::raise_limit();
        let max_open = descriptors::max_connections(wanted, limit, needs, Self::reserved_for_operators)?;
        Ok(Self::new(max_open, timeouts))
    }

    /// Returns how many connections are reserved for operators and health checks, in addition to `max_open`.
    pub fn reserved_for_operators(max_open: usize) -> usize {
        (max_open / CONNECTIONS_PER_RESERVED).max(4)
    }

    pub(super) fn timeouts(&self) -> ClientTimeouts {
        self.0.timeouts
    }

    /// Returns the limit of concurrent streams of an HTTP/2 connection. A trusted proxy gets more, because it has many clients.
    pub(super) fn streams_per_connection(&self, is_trusted: bool) -> u32 {
        let (min, max) = (*STREAMS_PER_CONNECTION.start(), *STREAMS_PER_CONNECTION.end());
        let streams = if is_trusted { max } else { (self.0.max_open / CONNECTIONS_PER_STREAM).clamp(min, max) };
        u32::try_from(streams).unwrap_or(u32::MAX)
    }

    /// Counts a rejected request on a connection above the cap.
    pub(super) fn count_above_cap(&self) {
        static REFUSED: Repeats =
            Repeats::new(|count| tracing::warn!(count, "further requests rejected above max_open_connections"));
        self.0.above_cap.fetch_add(1, Ordering::Relaxed);
        REFUSED.record(|| tracing::warn!(max_open = self.0.max_open, "request rejected above max_open_connections"));
    }

    /// Counts a request that was rejected because its connection exceeds `bound`.
    pub(super) fn count_exceeded(&self, bound: Bound) {
        static REFUSED: Repeats = Repeats::new(|count| {
            tracing::warn!(count, "further requests rejected on connections above a resource limit")
        });
        self.0.exceeded.fetch_add(1, Ordering::Relaxed);
        REFUSED.record(|| tracing::warn!(?bound, "request rejected on a connection above a resource limit"));
    }

    /// Returns the connection metrics.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let shared = &self.0;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        vec![
            Sample::gauge("connections_open", "Open connections with clients").value(shared.open().len() as f64),
            Sample::gauge(
                "connections_limit",
                "Maximum number of open connections, without those reserved for operators",
            )
            .value(shared.max_open as f64),
            Sample::counter("connections_refused", "Connections closed immediately because all others were busy")
                .value(count(&shared.refused)),
            Sample::counter("connections_evicted", "Idle connections closed to make room for new ones")
                .value(count(&shared.evicted)),
            Sample::counter(
                "connection_requests_refused",
                "Requests rejected because of the state of their connection",
            )
            .labelled([("reason", "above_cap")], count(&shared.above_cap))
            .labelled([("reason", "held")], count(&shared.exceeded)),
            Sample::gauge("http2_streams", "HTTP/2 streams in progress")
                .value(shared.streams.load(Ordering::Relaxed) as f64),
            Sample::counter("exchanges_stalled", "Requests and responses aborted because the client was too slow")
                .value(count(&shared.stalled)),
            Sample::gauge("responses_unsent_bytes", "Unsent bytes of large responses").value(count(&shared.unsent)),
        ]
    }

    /// Waits until a file descriptor is available for another connection. Dropping the permit releases it.
    pub(super) async fn acquire_descriptor(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.descriptors).acquire_owned().await.ok()
    }

    /// Registers a connection, evicting idle ones if necessary; `None` if there is no room.
    pub(super) fn open(&self, role: ListenerRole, is_trusted: bool) -> Option<OpenConnection> {
        let shared = &self.0;
        let reserved = Self::reserved_for_operators(shared.max_open);
        let cap = match role {
            ListenerRole::Public => shared.max_open,
            ListenerRole::Operators => shared.max_open + reserved,
        };
        let mut open = shared.open();
        if open.len() >= cap {
            shared.evict(&mut open, role);
        }
        let is_above_cap = open.len() >= cap;
        if open.len() >= shared.max_open + reserved && !shared.evict_unprivileged(&mut open) {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let kind = ConnectionKind { role, is_trusted, is_above_cap };
        let connection = Arc::new(Connection::new(Arc::clone(shared), id, kind));
        open.insert(id, Arc::clone(&connection));
        shared.count.store(open.len(), Ordering::Relaxed);
        Some(OpenConnection(connection))
    }

    /// Periodically aborts exchanges whose clients are too slow, and closes unused HTTP/2 connections, until `stop`.
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

    /// As [`Self::now`], which lags by the time since the last sweep. Costs a reading of the clock.
    fn exact_now(&self) -> u64 {
        self.now().max(millis(self.started.elapsed()))
    }

    fn sweep_interval(&self) -> Duration {
        let shortest = self.timeouts.send_timeout.min(self.timeouts.http2_idle_timeout);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_millis(250))
    }

    fn has_much_unsent(&self) -> bool {
        self.unsent.load(Ordering::Relaxed) > MAX_UNSENT
    }

    fn has_many_streams(&self) -> bool {
        self.streams.load(Ordering::Relaxed) > self.max_open
    }

    /// Returns the number of streams per open connection if they were distributed evenly.
    fn fair_streams(&self) -> usize {
        (self.max_open / self.count.load(Ordering::Relaxed).max(1)).max(1)
    }

    fn sweep(&self, elapsed: Duration) {
        let now = millis(elapsed);
        self.now.store(now, Ordering::Relaxed);
        let timeouts = &self.timeouts;
        let is_saturated = self.has_much_unsent() || self.has_many_streams();
        let exchange_timeouts = if is_saturated {
            ExchangeTimeouts { response: SATURATED_TIMEOUT.min(timeouts.send_timeout), body: Some(SATURATED_TIMEOUT) }
        } else {
            ExchangeTimeouts { response: timeouts.send_timeout, body: None }
        };
        let connections: Vec<Arc<Connection>> = self.open().values().cloned().collect();
        for connection in connections {
            let stalled = connection.abort_stalled(now, exchange_timeouts);
            self.stalled.fetch_add(stalled, Ordering::Relaxed);
            connection.close_unused(now, timeouts);
        }
    }
}

#[cfg(test)]
mod tests;
