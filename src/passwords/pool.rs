//! A bounded pool of hashing threads with a queue deadline.
//!
//! Hashing is the one thing here that costs milliseconds of CPU. It runs on threads of its own, at a lower priority, so
//! that reads stay fast beside a login storm. A hash that would wait longer than the deadline is refused at once: a
//! queue beyond what clients wait for only does work that nobody collects. The place in the queue is asked for before
//! anything else is done for a request, so that what is refused a place costs next to nothing.
//!
//! A burst may queue for up to half of the deadline, unless others come before it has drained. A queue that stands, because
//! more comes than can be hashed, would keep everyone waiting as long and serve nobody more: once a client's has stood for
//! an eighth of the deadline, it has places for just what keeps the threads busy (`standing`), and those who have waited
//! longest for more are refused, as CoDel drops from the front. Clients take turns (`fair`): the requests of one, however
//! many, keep nobody else waiting for longer than one of them.
//!
//! Invariants: at most as many jobs are with the threads as are computed at a time; all others wait for their turn. No hash
//! is begun after the deadline of its place. The memory that hashes are computed in is kept (`buffers`), and there is never
//! more of it than hashes are computed at a time.

mod buffers;
mod fair;
mod queue;
mod standing;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use buffers::Buffers;
pub(super) use buffers::Memory;
pub use fair::HashKind;
use fair::QueueLimits;
use queue::HashQueue;
pub use queue::Place;
use tokio::sync::oneshot;

use crate::{model::Network, sync::MutexExt};

/// Added to the nice value of the hashing threads.
const NICE: i32 = 5;

/// The weight of the newest duration in the running mean: 1/8.
const MEAN_SHIFT: u32 = 3;

/// So many hashes of one client for each thread, running and waiting, are more than a moment's.
const LONG: usize = 3;
/// So many keep it busy while more come all the time.
const ENOUGH: usize = 2;
/// The most places, however little is known of how long a hash takes.
const MAX_PLACES: usize = 10_000;

type Job = Box<dyn FnOnce() + Send>;

/// The pool.
#[derive(Debug)]
pub(super) struct HashPool {
    jobs: mpsc::Sender<Job>,
    queue: Arc<HashQueue>,
    buffers: Arc<Buffers>,
    deadline: Duration,
    record: Arc<Record>,
}

/// What the pool has done.
#[derive(Debug, Default)]
struct Record {
    mean_nanos: AtomicU64,
    computed: AtomicU64,
    refused: AtomicU64,
    cpu_nanos: AtomicU64,
    waited_nanos: AtomicU64,
    longest_wait_nanos: AtomicU64,
}

/// How busy the pool is, and what it has done since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStats {
    /// How many hashes it computes at a time.
    pub threads: usize,
    /// How many pieces of memory there are for it.
    pub buffers: usize,
    /// How many are being computed.
    pub running: usize,
    /// How many wait.
    pub waiting: usize,
    /// A running mean of how long one takes; zero before the first.
    pub mean: Duration,
    /// How many were begun, checks of passwords and new ones.
    pub computed: u64,
    /// The processor time that they took.
    pub cpu: Duration,
    /// How many were refused.
    pub refused: u64,
    /// How long those that were begun had waited, on average.
    pub mean_wait: Duration,
    /// The longest that one had waited.
    pub longest_wait: Duration,
}

/// The queue is too long to be served before the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are waiting to be hashed")]
pub struct Saturated {
    /// When there should be room again.
    pub retry_after: Duration,
}

impl HashPool {
    pub(super) fn start(threads: usize, deadline: Duration) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for index in 0..threads {
            let queue = Arc::clone(&queue);
            let builder = std::thread::Builder::new().name(format!("hash-{index}"));
            if let Err(error) = builder.spawn(move || work(&queue)) {
                tracing::error!(%error, "cannot start a hashing thread");
            }
        }
        let (queue, buffers) = (Arc::new(HashQueue::new(threads)), Arc::new(Buffers::new(threads)));
        Self { jobs, queue, buffers, deadline, record: Arc::default() }
    }

    /// From now on at most `concurrency` hashes are computed at a time, in at most `buffers` pieces of memory; what is being
    /// computed ends first.
    pub(super) fn resize(&self, concurrency: usize, buffers: usize) {
        self.queue.resize(concurrency.min(buffers));
        self.buffers.keep(buffers);
    }

    /// A place in the queue, unless it is so long that the deadline would pass, or the client's own stands and is long enough.
    pub(super) fn place(&self, client: Network, kind: HashKind) -> Result<Place, Saturated> {
        self.queue.enter(client, kind, |concurrency| self.limits(concurrency)).ok_or_else(|| self.saturated())
    }

    fn limits(&self, concurrency: usize) -> QueueLimits {
        let mean = self.record.mean();
        let patience = self.deadline / 8;
        QueueLimits {
            // Half is left for what the estimate can't know: few who were let in are to be refused after all.
            max_places: places_within(self.deadline / 2, mean, concurrency),
            crowd: places_within(patience, mean, concurrency).max(LONG * concurrency),
            long: LONG * concurrency,
            enough: ENOUGH * concurrency,
            patience,
        }
    }

    /// Runs `task` on a hashing thread once its turn comes, or refuses it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        place: Place,
        task: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Saturated> {
        let left = self.deadline.saturating_sub(place.since.elapsed());
        let Ok(Ok(())) = tokio::time::timeout(left, place.turn()).await else { return Err(self.saturated()) };
        let (reply, result) = oneshot::channel();
        let (record, buffers, deadline) = (Arc::clone(&self.record), Arc::clone(&self.buffers), self.deadline);
        let job = move || {
            let begun = Instant::now();
            if begun - place.since > deadline {
                return;
            }
            record.begin(begun - place.since);
            let cpu_before = cpu_time();
            let mut borrowed = buffers.borrow();
            let value = task(&mut borrowed.memory);
            record.end(begun.elapsed(), cpu_time().saturating_sub(cpu_before));
            // The memory before the place: who is next finds it.
            drop(borrowed);
            drop(place);
            // The caller may have gone; then nobody wants the result.
            let _ = reply.send(value);
        };
        // Both fail only if the deadline has passed or the job panicked; the caller may try again.
        self.jobs.send(Box::new(job)).map_err(|_| self.saturated())?;
        result.await.map_err(|_| self.saturated())
    }

    /// How long the next one would wait behind so many others, those that are being computed included.
    fn wait_behind(&self, ahead: usize) -> Duration {
        let concurrency = self.queue.concurrency();
        let rounds = (ahead + 1).saturating_sub(concurrency).div_ceil(concurrency);
        self.record.mean() * u32::try_from(rounds).unwrap_or(u32::MAX)
    }

    fn saturated(&self) -> Saturated {
        self.record.refused.fetch_add(1, Ordering::Relaxed);
        let wait = self.wait_behind(self.queue.len_and_running().0);
        Saturated { retry_after: wait.max(Duration::from_secs(1)) }
    }

    pub(super) fn stats(&self) -> PoolStats {
        let (places, running) = self.queue.len_and_running();
        let computed = self.record.computed.load(Ordering::Relaxed);
        let waited = Duration::from_nanos(self.record.waited_nanos.load(Ordering::Relaxed));
        PoolStats {
            threads: self.queue.concurrency(),
            buffers: self.buffers.count(),
            running,
            waiting: places - running,
            mean: self.record.mean(),
            computed,
            cpu: Duration::from_nanos(self.record.cpu_nanos.load(Ordering::Relaxed)),
            refused: self.record.refused.load(Ordering::Relaxed),
            mean_wait: waited.div_f64(computed.max(1) as f64),
            longest_wait: Duration::from_nanos(self.record.longest_wait_nanos.load(Ordering::Relaxed)),
        }
    }
}

impl Record {
    fn begin(&self, waited: Duration) {
        let waited = nanos(waited);
        self.computed.fetch_add(1, Ordering::Relaxed);
        self.waited_nanos.fetch_add(waited, Ordering::Relaxed);
        self.longest_wait_nanos.fetch_max(waited, Ordering::Relaxed);
    }

    fn end(&self, took: Duration, cpu: Duration) {
        self.cpu_nanos.fetch_add(nanos(cpu), Ordering::Relaxed);
        let (took, mean) = (nanos(took), self.mean_nanos.load(Ordering::Relaxed));
        let next = if mean == 0 { took } else { mean - (mean >> MEAN_SHIFT) + (took >> MEAN_SHIFT) };
        self.mean_nanos.store(next, Ordering::Relaxed);
    }

    fn mean(&self) -> Duration {
        Duration::from_nanos(self.mean_nanos.load(Ordering::Relaxed))
    }
}

/// How many places there may be for the last of them to wait no longer than `time`; the threads' own in any case.
fn places_within(time: Duration, mean: Duration, concurrency: usize) -> usize {
    let rounds = time.as_nanos().checked_div(mean.as_nanos());
    let rounds = rounds.and_then(|rounds| usize::try_from(rounds).ok()).unwrap_or(MAX_PLACES);
    rounds.saturating_add(1).saturating_mul(concurrency).min(MAX_PLACES.max(concurrency))
}

/// The processor time that this thread has used.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>) {
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::warn!(%error, "hashing threads run at normal priority");
    }
    loop {
        // A poisoned lock only means that another thread died while it waited; the queue is intact.
        let next = queue.locked().recv();
        let Ok(job) = next else { return };
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("a password hash panicked");
        }
    }
}

#[cfg(test)]
mod tests;
