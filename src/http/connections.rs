//! The connections of a process, and the bounds on what clients can hold open.
//!
//! A connection that waits for its client is idle, whether for a request, for the rest of a body, or for room in its window.
//! At the cap the connections that have been idle longest give way. A response is ended once a piece of it has been waiting
//! for the client longer than `send_timeout`; under pressure, after [`PRESSED_PATIENCE`].

mod bodies;
mod connection;
mod streams;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

pub(crate) use bodies::ClientBody;
pub(super) use bodies::Outgoing;
pub(super) use connection::{Connection, Ending, Exchange};
pub(super) use streams::StreamExecutor;
use tokio_util::sync::CancellationToken;

use crate::metrics::Sample;

/// Response bytes that may wait for one client.
const MAX_UNSENT_PER_CONNECTION: u64 = 4 << 20;

/// Response bytes that may wait for all clients together.
const MAX_UNSENT: u64 = 64 << 20;

/// How long a response may wait for its client while a bound of the process is reached.
const PRESSED_PATIENCE: Duration = Duration::from_secs(1);

/// The share of the connections that one HTTP/2 connection may have as streams.
const STREAMS_SHARE: usize = 16;

/// Streams that an HTTP/2 connection may open, however many connections there may be.
const STREAMS_PER_CONNECTION: std::ops::RangeInclusive<usize> = 16..=200;

/// The share of the connections that is kept for operators and health checks.
const OPERATORS_SHARE: usize = 16;

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

/// How long clients may take.
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
    streams: AtomicUsize,
    unsent: AtomicU64,
    refused: AtomicU64,
    evicted: AtomicU64,
    stalled: AtomicU64,
}

/// A connection among the open ones; dropping it takes it out.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: Arc<Connection>,
    /// Whether it is above the cap: only operators and health checks are served on it.
    pub(super) is_above_cap: bool,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.connection.shared().open().remove(&self.connection.id());
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
            streams: AtomicUsize::new(0),
            unsent: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
        }))
    }

    /// How many are kept for operators and health checks besides `max_open` others.
    pub fn kept_for_operators(max_open: usize) -> usize {
        (max_open / OPERATORS_SHARE).max(4)
    }

    /// How long clients may take.
    pub(super) fn patience(&self) -> Patience {
        self.0.patience
    }

    /// How many streams one HTTP/2 connection may have.
    pub(super) fn streams_per_connection(&self) -> u32 {
        let (least, most) = (*STREAMS_PER_CONNECTION.start(), *STREAMS_PER_CONNECTION.end());
        u32::try_from((self.0.max_open / STREAMS_SHARE).clamp(least, most)).unwrap_or(u32::MAX)
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
            Sample::counter("responses_stalled", "Responses ended because their clients did not receive them")
                .value(count(&shared.stalled)),
            Sample::gauge("responses_unsent_bytes", "Bytes of large responses that wait for clients")
                .value(count(&shared.unsent)),
        ]
    }

    /// Takes a connection in, in the place of idle ones if need be; none if there is no room at all.
    pub(super) fn open(&self, surface: Surface) -> Option<Opened> {
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
        if open.len() >= shared.max_open + kept {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(Arc::clone(shared), id, surface));
        open.insert(id, Arc::clone(&connection));
        Some(Opened { connection, is_above_cap })
    }

    /// Ends what clients keep waiting, and HTTP/2 connections that are not used, until `stop`.
    pub(crate) async fn sweep(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.0.sweep_interval());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.0.sweep(self.0.started.elapsed()),
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        // Nothing panics while it holds the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn sweep_interval(&self) -> Duration {
        let shortest = self.patience.send_timeout.min(self.patience.http2_idle_timeout);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_millis(250))
    }

    /// Whether as much is open or unsent as may be.
    fn is_pressed(&self) -> bool {
        self.unsent.load(Ordering::Relaxed) > MAX_UNSENT || self.streams.load(Ordering::Relaxed) >= self.max_open
    }

    /// Ends the connections that have been idle longest. Those of operators give way to operators only.
    fn evict(&self, open: &mut HashMap<u64, Arc<Connection>>, newcomer: Surface) {
        let may_go = |connection: &&Arc<Connection>| {
            connection.is_idle() && (connection.surface() == Surface::Public || newcomer == Surface::Operators)
        };
        let mut idle: Vec<(u64, u64)> =
            open.values().filter(may_go).map(|connection| (connection.last_progress(), connection.id())).collect();
        let going = (self.max_open / EVICTED_SHARE).max(1).min(idle.len());
        if going > 0 && going < idle.len() {
            idle.select_nth_unstable(going - 1);
        }
        for (_, id) in idle.iter().take(going) {
            if let Some(connection) = open.remove(id) {
                connection.end(Ending::AtOnce);
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn sweep(&self, elapsed: Duration) {
        let now = millis(elapsed);
        self.now.store(now, Ordering::Relaxed);
        let patience = &self.patience;
        let send_timeout =
            if self.is_pressed() { PRESSED_PATIENCE.min(patience.send_timeout) } else { patience.send_timeout };
        let connections: Vec<Arc<Connection>> = self.open().values().cloned().collect();
        for connection in connections {
            let stalled = connection.end_stalled(now, send_timeout);
            self.stalled.fetch_add(stalled, Ordering::Relaxed);
            connection.end_unused(now, patience);
        }
    }
}

#[cfg(test)]
mod tests;
