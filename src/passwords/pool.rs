//! A bounded pool of hashing threads with a queue timeout.
//!
//! Hashing costs milliseconds of CPU. It runs on its own threads at a lower priority, so that reads stay fast during a login
//! storm. A hash that would wait longer than the timeout is refused at once: its client would have gone before it was
//! computed. A request reserves its slot before it does anything else, so a refused one costs next to nothing.
//!
//! A burst may queue for up to half of the timeout. A standing queue makes everyone wait without serving anyone more. Once a
//! client's queue has stood for an eighth of the timeout, it is cut to what keeps the threads busy (`standing`), and its
//! oldest slots are evicted, as CoDel drops from the head. Clients take turns (`fair`): the requests of one, however many,
//! delay another client by at most one hash.
//!
//! Invariants: the threads have at most as many jobs as are computed at a time; all others wait for their turn. No hash
//! begins after the timeout of its slot. The memory for hashing is reused (`buffers`), and there are never more buffers than
//! hashes computed at a time.

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
pub(super) use buffers::HashMemory;
pub use fair::HashKind;
use fair::QueueLimits;
use queue::HashQueue;
pub use queue::QueueSlot;
use tokio::sync::oneshot;

use crate::{model::Network, sync::MutexExt};

/// Added to the nice value of the hashing threads.
const NICE: i32 = 5;

/// The newest duration has a weight of 1/8 in the running mean.
const MEAN_SHIFT: u32 = 3;

/// Hashes of one client for each thread, running and waiting, from which on its flow is long.
const FLOW_THRESHOLD_PER_THREAD: usize = 3;
/// Hashes of one client for each thread that keep the threads busy while its flow stands.
const FLOW_LIMIT_PER_THREAD: usize = 2;
/// Upper bound of the slots, also while the duration of a hash is unknown.
const MAX_SLOTS: usize = 10_000;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub(super) struct HashPool {
    jobs: mpsc::Sender<Job>,
    queue: Arc<HashQueue>,
    buffers: Arc<Buffers>,
    queue_timeout: Duration,
    counters: Arc<PoolCounters>,
}

#[derive(Debug, Default)]
struct PoolCounters {
    mean_nanos: AtomicU64,
    computed: AtomicU64,
    refused: AtomicU64,
    cpu_nanos: AtomicU64,
    waited_nanos: AtomicU64,
    max_wait_nanos: AtomicU64,
}

/// The pool's load, and totals since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStats {
    /// Maximum of hashes computed at a time.
    pub threads: usize,
    pub buffers: usize,
    /// Hashes being computed.
    pub running: usize,
    /// Hashes that wait.
    pub waiting: usize,
    /// Running mean of a hash's duration; zero before the first.
    pub mean: Duration,
    /// Hashes begun, of checks and of new passwords.
    pub computed: u64,
    /// CPU time of the computed hashes.
    pub cpu: Duration,
    pub refused: u64,
    /// Mean waiting time of the hashes begun.
    pub mean_wait: Duration,
    /// Longest waiting time of a hash that began.
    pub max_wait: Duration,
}

/// The hash would not begin before the queue timeout, or the client has too many waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are waiting to be hashed")]
pub struct Saturated {
    /// Estimated time until there is room.
    pub retry_after: Duration,
}

impl HashPool {
    pub(super) fn start(threads: usize, queue_timeout: Duration) -> Self {
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
        Self { jobs, queue, buffers, queue_timeout, counters: Arc::default() }
    }

    /// Computes at most `concurrency` hashes at a time in at most `buffers` buffers from now on. Running hashes are not
    /// interrupted.
    pub(super) fn resize(&self, concurrency: usize, buffers: usize) {
        self.queue.resize(concurrency.min(buffers));
        self.buffers.set_max_buffers(buffers);
    }

    /// Reserves a slot for one hash of a client.
    pub(super) fn reserve(&self, client: Network, kind: HashKind) -> Result<QueueSlot, Saturated> {
        self.queue.enter(client, kind, |concurrency| self.limits(concurrency)).ok_or_else(|| self.saturated())
    }

    fn limits(&self, concurrency: usize) -> QueueLimits {
        let mean = self.counters.mean();
        let interval = self.queue_timeout / 8;
        QueueLimits {
            // The other half covers errors of the estimate, so that few hashes with a slot time out.
            max_slots: slots_within(self.queue_timeout / 2, mean, concurrency),
            standing_kind_limit: slots_within(interval, mean, concurrency).max(FLOW_THRESHOLD_PER_THREAD * concurrency),
            flow_threshold: FLOW_THRESHOLD_PER_THREAD * concurrency,
            standing_flow_limit: FLOW_LIMIT_PER_THREAD * concurrency,
            interval,
        }
    }

    /// Runs `task` on a hashing thread when its turn comes.
    ///
    /// # Errors
    /// [`Saturated`] if the queue timeout passes first, or the slot is evicted.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        slot: QueueSlot,
        task: impl FnOnce(&mut HashMemory) -> T + Send + 'static,
    ) -> Result<T, Saturated> {
        let left = self.queue_timeout.saturating_sub(slot.reserved_at.elapsed());
        let Ok(Ok(())) = tokio::time::timeout(left, slot.turn()).await else { return Err(self.saturated()) };
        let (reply, result) = oneshot::channel();
        let (counters, buffers, queue_timeout) =
            (Arc::clone(&self.counters), Arc::clone(&self.buffers), self.queue_timeout);
        let job = move || {
            let begun = Instant::now();
            if begun - slot.reserved_at > queue_timeout {
                return;
            }
            counters.begin(begun - slot.reserved_at);
            let cpu_before = cpu_time();
            let mut borrowed = buffers.borrow();
            let value = task(&mut borrowed.memory);
            counters.end(begun.elapsed(), cpu_time().saturating_sub(cpu_before));
            // Memory is returned before the slot, so that the next hash reuses it.
            drop(borrowed);
            drop(slot);
            // This fails if the caller has gone.
            let _ = reply.send(value);
        };
        // Both fail only if the timeout has passed or the job panicked. The caller may try again.
        self.jobs.send(Box::new(job)).map_err(|_| self.saturated())?;
        result.await.map_err(|_| self.saturated())
    }

    /// Estimates the waiting time behind `ahead` hashes, including the running ones.
    fn wait_behind(&self, ahead: usize) -> Duration {
        let concurrency = self.queue.concurrency();
        let rounds = (ahead + 1).saturating_sub(concurrency).div_ceil(concurrency);
        self.counters.mean() * u32::try_from(rounds).unwrap_or(u32::MAX)
    }

    fn saturated(&self) -> Saturated {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        let wait = self.wait_behind(self.queue.len_and_running().0);
        Saturated { retry_after: wait.max(Duration::from_secs(1)) }
    }

    pub(super) fn stats(&self) -> PoolStats {
        let (slots, running) = self.queue.len_and_running();
        let computed = self.counters.computed.load(Ordering::Relaxed);
        let waited = Duration::from_nanos(self.counters.waited_nanos.load(Ordering::Relaxed));
        PoolStats {
            threads: self.queue.concurrency(),
            buffers: self.buffers.count(),
            running,
            waiting: slots - running,
            mean: self.counters.mean(),
            computed,
            cpu: Duration::from_nanos(self.counters.cpu_nanos.load(Ordering::Relaxed)),
            refused: self.counters.refused.load(Ordering::Relaxed),
            mean_wait: waited.div_f64(computed.max(1) as f64),
            max_wait: Duration::from_nanos(self.counters.max_wait_nanos.load(Ordering::Relaxed)),
        }
    }
}

impl PoolCounters {
    fn begin(&self, waited: Duration) {
        let waited = nanos(waited);
        self.computed.fetch_add(1, Ordering::Relaxed);
        self.waited_nanos.fetch_add(waited, Ordering::Relaxed);
        self.max_wait_nanos.fetch_max(waited, Ordering::Relaxed);
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

/// Returns how many slots there may be for the last one to wait at most `time`. There is one for each thread in any case.
fn slots_within(time: Duration, mean: Duration, concurrency: usize) -> usize {
    let rounds = time.as_nanos().checked_div(mean.as_nanos());
    let rounds = rounds.and_then(|rounds| usize::try_from(rounds).ok()).unwrap_or(MAX_SLOTS);
    rounds.saturating_add(1).saturating_mul(concurrency).min(MAX_SLOTS.max(concurrency))
}

/// Returns the CPU time that this thread has used.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>) {
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::warn!(%error, "priority of hashing threads not lowered");
    }
    loop {
        // A poisoned lock means only that another thread panicked while it waited. The queue is intact.
        let next = queue.locked().recv();
        let Ok(job) = next else { return };
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("password hash panicked");
        }
    }
}

#[cfg(test)]
mod tests;
