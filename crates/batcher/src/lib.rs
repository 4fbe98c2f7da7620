#![doc = include_str!("../README.md")]
//!
//! # Design
//! `queue` decides which keys are sent together, and `scheduler` shares that between threads. One task sends batches as long as
//! there are any. All lookups have the same timeout, waiting included, so the one that waits longest expires first, and the
//! task needs one timer for its batch and for all waiting lookups. (A timer for each lookup would cost more than its place in a
//! batch. In one case a lookup is told about its timeout too late, by less than the timeout: if it joined a key whose first
//! waiter has gone away, and the batch was full without that key.)
#![warn(missing_docs)]

mod queue;
mod scheduler;

use std::{
    hash::Hash,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use queue::Batch;
use scheduler::{BatchSlot, Scheduler};
use tokio::{
    sync::oneshot,
    task::yield_now,
    time::{Instant, sleep_until},
};

/// Limits of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// The maximum number of batches in flight; at least 1.
    pub max_in_flight: usize,
    /// The maximum number of keys in a batch; at least 1.
    pub max_keys: usize,
}

/// Counters since the start, and the current state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchStats {
    /// The number of lookups.
    pub lookups: u64,
    /// The number of batches sent.
    pub batches: u64,
    /// The number of keys in these batches.
    pub keys: u64,
    /// The number of lookups in these batches. Lookups of one key share it; cancelled lookups are in no batch.
    pub sent: u64,
    /// The total time that these lookups waited until their batch was sent.
    pub waited: Duration,
    /// The number of batches in flight or about to be sent.
    pub in_flight: usize,
    /// The number of waiting keys.
    pub waiting: usize,
}

impl BatchStats {
    /// Returns the mean time that a lookup waited until its batch was sent.
    pub fn mean_wait(&self) -> Duration {
        self.waited.div_f64(self.sent.max(1) as f64)
    }
}

/// A lookup was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError<E> {
    /// The timeout has passed.
    #[error("the lookup timed out")]
    TimedOut,
    /// The task of the batch has panicked or was aborted.
    #[error("the task of the batch has ended")]
    Aborted,
    /// The batch failed.
    #[error("the batch failed")]
    Fetch(#[source] E),
}

/// Joins lookups of `V` by `K` into batches. A batch fails as a whole with `E`.
#[derive(Debug)]
pub struct Batcher<K, V, E> {
    scheduler: Arc<Scheduler<K, Waiter<V, E>>>,
    timing: BatchTiming,
    counters: Arc<Counters>,
}

/// Timeout and yielding of a batcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchTiming {
    /// The timeout of a lookup, waiting included.
    pub timeout: Duration,
    /// How often a batch yields to runnable tasks before it is sent, if recent batches had several lookups. The more a query
    /// costs, the more often is worth it.
    pub yields: u32,
}

/// Counters since the start.
#[derive(Debug, Default)]
struct Counters {
    lookups: AtomicU64,
    batches: AtomicU64,
    keys: AtomicU64,
    sent: AtomicU64,
    waited_nanos: AtomicU64,
}

/// A lookup that waits for its row.
#[derive(Debug)]
struct Waiter<V, E> {
    started_at: Instant,
    reply: oneshot::Sender<Result<Option<V>, BatchError<E>>>,
}

impl<K, V, E> Batcher<K, V, E>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
    E: Clone + Send + 'static,
{
    /// Makes a batcher without lookups.
    pub fn new(limits: BatchLimits, timing: BatchTiming) -> Self {
        Self { scheduler: Arc::new(Scheduler::new(limits)), timing, counters: Arc::default() }
    }

    /// Returns the row of `key`, or none if `fetch` returns no row for it. `fetch` gets the keys of a batch, and the time after
    /// which no lookup waits for it. It may be called for keys of other lookups, which must use an equivalent `fetch`. Dropping
    /// the future cancels the lookup. Needs a Tokio runtime with time enabled.
    ///
    /// # Errors
    /// [`BatchError`] if the lookup times out, its batch fails, or the task of the batch ends.
    pub async fn find<F>(
        &self,
        key: K,
        fetch: impl Fn(Vec<K>, Instant) -> F + Send + 'static,
    ) -> Result<Option<V>, BatchError<E>>
    where
        F: Future<Output = Result<Vec<(K, V)>, E>> + Send + 'static,
    {
        let (reply, row) = oneshot::channel();
        self.counters.lookups.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = self.scheduler.add(key, Waiter { started_at: Instant::now(), reply }) {
            tokio::spawn(send(slot, self.timing, Arc::clone(&self.counters), fetch));
        }
        row.await.unwrap_or(Err(BatchError::Aborted))
    }

    /// Returns the counters and the current state.
    pub fn stats(&self) -> BatchStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (in_flight, waiting) = self.scheduler.counts();
        BatchStats {
            lookups: count(&self.counters.lookups),
            batches: count(&self.counters.batches),
            keys: count(&self.counters.keys),
            sent: count(&self.counters.sent),
            waited: Duration::from_nanos(count(&self.counters.waited_nanos)),
            in_flight,
            waiting,
        }
    }
}

/// Sends batches as long as there are any.
async fn send<K, V, E, F>(
    mut slot: BatchSlot<K, Waiter<V, E>>,
    BatchTiming { timeout, yields }: BatchTiming,
    counters: Arc<Counters>,
    fetch: impl Fn(Vec<K>, Instant) -> F,
) where
    K: Clone + Eq + Hash,
    V: Clone,
    E: Clone,
    F: Future<Output = Result<Vec<(K, V)>, E>>,
{
    // Resetting a timer costs less than making one for each batch.
    let mut timer = pin!(sleep_until(Instant::now()));
    loop {
        if slot.coalesces() {
            for _ in 0..yields {
                yield_now().await;
            }
        }
        let Some(mut batch) = slot.next_batch() else { return };
        batch.retain(|waiter| !waiter.reply.is_closed());
        let Some((first, last)) = first_and_last(&batch) else { continue };
        counters.count(&batch);
        timer.as_mut().reset(first + timeout);
        let mut fetched = pin!(fetch(batch.keys(), last + timeout));
        loop {
            tokio::select! {
                biased;
                found = &mut fetched => break answer(batch, found),
                () = all_cancelled(&mut batch) => break,
                () = &mut timer => {}
            }
            let now = Instant::now();
            let is_expired = |waiter: &Waiter<V, E>| waiter.started_at + timeout <= now;
            let (expired, next) = slot.expire(is_expired, |waiter| waiter.started_at);
            reply_all(expired, Err(BatchError::TimedOut));
            reply_all(batch.expire(is_expired), Err(BatchError::TimedOut));
            let next = next.into_iter().chain(first_and_last(&batch).map(|(first, _)| first)).min();
            timer.as_mut().reset(next.unwrap_or(now) + timeout);
        }
    }
}

/// Returns the start times of the first and the last lookup of a batch.
fn first_and_last<K: Clone + Eq + Hash, V, E>(batch: &Batch<K, Waiter<V, E>>) -> Option<(Instant, Instant)> {
    let start_times = || batch.waiters().map(|waiter| waiter.started_at);
    start_times().min().zip(start_times().max())
}

/// Completes when all lookups of the batch are cancelled.
async fn all_cancelled<K: Clone + Eq + Hash, V, E>(batch: &mut Batch<K, Waiter<V, E>>) {
    for waiter in batch.waiters_mut() {
        waiter.reply.closed().await;
    }
}

impl Counters {
    fn count<K: Clone + Eq + Hash, V, E>(&self, batch: &Batch<K, Waiter<V, E>>) {
        let now = Instant::now();
        let waited: Duration = batch.waiters().map(|waiter| now.saturating_duration_since(waiter.started_at)).sum();
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.keys.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.sent.fetch_add(batch.waiters().count() as u64, Ordering::Relaxed);
        self.waited_nanos.fetch_add(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Replies to all lookups of the batch.
fn answer<K, V, E>(mut batch: Batch<K, Waiter<V, E>>, found: Result<Vec<(K, V)>, E>)
where
    K: Clone + Eq + Hash,
    V: Clone,
    E: Clone,
{
    let absent = match found {
        Ok(rows) => {
            for (key, row) in rows {
                reply_all(batch.take(&key), Ok(Some(row)));
            }
            Ok(None)
        }
        Err(error) => Err(BatchError::Fetch(error)),
    };
    for waiters in batch.rest() {
        reply_all(waiters, absent.clone());
    }
}

fn reply_all<V: Clone, E: Clone>(mut waiters: Vec<Waiter<V, E>>, row: Result<Option<V>, BatchError<E>>) {
    let last = waiters.pop();
    // Sending to a cancelled lookup fails, and need not succeed.
    for waiter in waiters {
        let _ = waiter.reply.send(row.clone());
    }
    if let Some(waiter) = last {
        let _ = waiter.reply.send(row);
    }
}

#[cfg(all(test, feature = "loom"))]
mod models;
#[cfg(test)]
mod tests;
