//! A bounded pool of hashing threads with a queue deadline.
//!
//! Hashing is the one thing here that costs milliseconds of CPU. It runs on threads of its own, at a lower priority, so
//! that reads stay fast beside a login storm. A hash that would wait longer than the deadline is refused at once: a
//! queue beyond what clients wait for only does work that nobody collects.
//!
//! Invariant: at most `threads` jobs are with the threads at any time; all others wait for a permit, and a caller that
//! goes away gives its place up.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Added to the nice value of the hashing threads.
const NICE: i32 = 5;

/// The weight of the newest duration in the running mean: 1/8.
const MEAN_SHIFT: u32 = 3;

type Job = Box<dyn FnOnce() + Send>;

/// The pool.
#[derive(Debug)]
pub(super) struct HashPool {
    jobs: mpsc::Sender<Job>,
    permits: Arc<Semaphore>,
    threads: usize,
    deadline: Duration,
    waiting: AtomicUsize,
    mean_nanos: Arc<AtomicU64>,
}

/// How busy the pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStats {
    /// How many hashes it computes at a time.
    pub threads: usize,
    /// How many are being computed.
    pub running: usize,
    /// How many wait.
    pub waiting: usize,
    /// A running mean of how long one takes; zero before the first.
    pub mean: Duration,
}

/// The queue is too long to be served before the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are waiting to be hashed")]
pub struct Saturated {
    /// When there should be room again.
    pub retry_after: Duration,
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
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
        Self {
            jobs,
            permits: Arc::new(Semaphore::new(threads)),
            threads,
            deadline,
            waiting: AtomicUsize::new(0),
            mean_nanos: Arc::default(),
        }
    }

    /// Runs `task` on a hashing thread once its turn comes, or refuses it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Saturated> {
        let permit = self.permit().await?;
        let (reply, result) = oneshot::channel();
        let mean = Arc::clone(&self.mean_nanos);
        let job = move || {
            let begun = Instant::now();
            let value = task();
            note(&mean, begun.elapsed());
            drop(permit);
            // The caller may have gone; then nobody wants the result.
            let _ = reply.send(value);
        };
        // Both fail only if a job panicked and took its thread along; the caller may try again.
        self.jobs.send(Box::new(job)).map_err(|_| self.saturated())?;
        result.await.map_err(|_| self.saturated())
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Saturated> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        if self.wait_for(self.waiting.load(Ordering::Relaxed) + 1) > self.deadline {
            return Err(self.saturated());
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        match tokio::time::timeout(self.deadline, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(self.saturated()),
        }
    }

    /// How long the last of `waiting` jobs waits.
    fn wait_for(&self, waiting: usize) -> Duration {
        let rounds = waiting.div_ceil(self.threads);
        self.mean() * u32::try_from(rounds).unwrap_or(u32::MAX)
    }

    fn saturated(&self) -> Saturated {
        let waiting = self.waiting.load(Ordering::Relaxed);
        Saturated { retry_after: self.wait_for(waiting).max(Duration::from_secs(1)) }
    }

    fn mean(&self) -> Duration {
        Duration::from_nanos(self.mean_nanos.load(Ordering::Relaxed))
    }

    pub(super) fn stats(&self) -> PoolStats {
        PoolStats {
            threads: self.threads,
            running: self.threads.saturating_sub(self.permits.available_permits()),
            waiting: self.waiting.load(Ordering::Relaxed),
            mean: self.mean(),
        }
    }
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>) {
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::warn!(%error, "hashing threads run at normal priority");
    }
    loop {
        // A poisoned lock only means that another thread died while it waited; the queue is intact.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("a password hash panicked");
        }
    }
}

fn note(mean_nanos: &AtomicU64, took: Duration) {
    let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let mean = mean_nanos.load(Ordering::Relaxed);
    let next = if mean == 0 { took } else { mean - (mean >> MEAN_SHIFT) + (took >> MEAN_SHIFT) };
    mean_nanos.store(next, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job that waits until it is told to end, and one channel end to tell it by.
    fn blocker() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (release, wait) = mpsc::channel();
        (release, move || assert!(wait.recv().is_err(), "nothing is ever sent"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_waits_past_the_deadline_is_refused() {
        let pool = Arc::new(HashPool::start(1, Duration::from_secs(2)));
        let (release, block) = blocker();
        let busy = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(block).await }
        });
        while pool.stats().running == 0 {
            tokio::task::yield_now().await;
        }
        assert!(pool.run(|| ()).await.is_err());
        assert_eq!(pool.stats().waiting, 0);
        drop(release);
        assert_eq!(busy.await.expect("the job ends"), Ok(()));
    }

    #[tokio::test]
    async fn a_queue_that_is_too_long_already_refuses_at_once() {
        let pool = HashPool::start(1, Duration::from_secs(2));
        pool.mean_nanos.store(3_000_000_000, Ordering::Relaxed);
        let (_release, block) = blocker();
        let busy = pool.run(block);
        tokio::pin!(busy);
        assert!(futures_util::poll!(&mut busy).is_pending());
        let refused = pool.run(|| ());
        tokio::pin!(refused);
        let std::task::Poll::Ready(Err(saturated)) = futures_util::poll!(&mut refused) else { panic!("not at once") };
        assert!(saturated.retry_after >= Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_panic_in_a_job_costs_only_that_job() {
        let pool = HashPool::start(1, Duration::from_secs(60));
        assert!(pool.run(|| panic!("on purpose")).await.is_err());
        assert_eq!(pool.run(|| 7).await, Ok(7));
        assert_eq!(pool.stats().running, 0);
    }
}
