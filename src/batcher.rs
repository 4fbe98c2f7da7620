//! Joins lookups by key into batches: one query for many rows costs the server about as much as one query for one.
//!
//! A lookup leaves at once if fewer than `slots` batches are under way; otherwise it leaves with all that came meanwhile as
//! soon as one of them ends. There is no timer. But where lookups have been coming together, a batch leaves only after the
//! tasks that can run already: a worker that found ten requests on its sockets sends one query for ten, instead of one for the
//! first and one for the rest. That was worth a third more requests; one that is alone waits for nobody.
//!
//! Two lookups of one key share a row only in a batch that has not been sent: to join one under way could read behind a write
//! that was acknowledged before the lookup began.
//!
//! A batch is a task of its own, so a caller that goes away leaves the others untouched. Keys that all of their callers
//! have left before they were sent are left out, and a batch that all have left is given up. Every lookup has the same time,
//! waiting included, so those that came first are due first, and the task of a batch needs one timer for its own and for
//! those that wait behind them: whoever waits, waits for a slot that some task has. (A timer for each lookup would cost it
//! more than its place in a batch does. Only who joined a key of which the first asker has gone may be due before those of a
//! batch that was full without it, and is told late then, by less than its time.) `gathering` decides who leaves when,
//! `slots` shares that between threads.

mod gathering;
mod slots;

use std::{
    hash::Hash,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gathering::Batch;
use slots::{Slot, Slots};
use tokio::{
    sync::oneshot,
    task::yield_now,
    time::{Instant, sleep_until},
};

/// How lookups leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPolicy {
    /// How many batches may be under way at a time; at least 1.
    pub slots: usize,
    /// The most keys of one; at least 1.
    pub most: usize,
}

/// What batches there were since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchStats {
    /// How many lookups there were.
    pub lookups: u64,
    /// How many batches were sent.
    pub batches: u64,
    /// How many keys were in them.
    pub keys: u64,
    /// How many lookups were in them: those of one key share it, and who left before is not in any.
    pub sent: u64,
    /// How long those waited until they were sent, all of them together.
    pub waited: Duration,
    /// How many batches are under way, or about to leave.
    pub in_flight: usize,
    /// How many keys wait.
    pub waiting: usize,
}

impl BatchStats {
    /// How long a lookup waited until it was sent, on average.
    pub fn mean_wait(&self) -> Duration {
        self.waited.div_f64(self.sent.max(1) as f64)
    }
}

/// Why a lookup was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure<E> {
    /// Its time was up.
    Late,
    /// The task of its batch has died.
    Died,
    /// Its batch failed.
    Fetch(E),
}

/// Joins lookups of `V` by `K`, which can fail as a whole of `E`.
#[derive(Debug)]
pub struct Batcher<K, V, E> {
    slots: Arc<Slots<K, Waiter<V, E>>>,
    terms: Terms,
    counters: Arc<Counters>,
}

/// What all lookups of a batcher have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long one may take, waiting included.
    pub timeout: Duration,
    /// How many times a batch that can expect company lets the tasks that can run go first: the more a query costs, the more
    /// times are worth it.
    pub passes: u32,
}

/// What happened since the start.
#[derive(Debug, Default)]
struct Counters {
    lookups: AtomicU64,
    batches: AtomicU64,
    keys: AtomicU64,
    sent: AtomicU64,
    waited_nanos: AtomicU64,
}

/// Whoever waits for a row.
#[derive(Debug)]
struct Waiter<V, E> {
    since: Instant,
    reply: oneshot::Sender<Result<Option<V>, Failure<E>>>,
}

impl<K, V, E> Batcher<K, V, E>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
    E: Clone + Send + 'static,
{
    /// Without lookups yet.
    pub fn new(policy: BatchPolicy, terms: Terms) -> Self {
        Self { slots: Arc::new(Slots::new(policy)), terms, counters: Arc::default() }
    }

    /// The row of `key`, by a batch that `fetch` gets, which is told until when anybody waits for it. What `fetch` leaves out
    /// is not there.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn find<F>(
        &self,
        key: K,
        fetch: impl Fn(Vec<K>, Instant) -> F + Send + 'static,
    ) -> Result<Option<V>, Failure<E>>
    where
        F: Future<Output = Result<Vec<(K, V)>, E>> + Send + 'static,
    {
        let (reply, row) = oneshot::channel();
        self.counters.lookups.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = self.slots.add(key, Waiter { since: Instant::now(), reply }) {
            tokio::spawn(send(slot, self.terms, Arc::clone(&self.counters), fetch));
        }
        row.await.unwrap_or(Err(Failure::Died))
    }

    /// What batches there were.
    pub fn stats(&self) -> BatchStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (in_flight, waiting) = self.slots.taken();
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

/// Sends batches while there are any. Where lookups come together, each leaves after the tasks that can run already, so that
/// what they look up is in it.
async fn send<K, V, E, F>(
    mut slot: Slot<K, Waiter<V, E>>,
    Terms { timeout, passes }: Terms,
    counters: Arc<Counters>,
    fetch: impl Fn(Vec<K>, Instant) -> F,
) where
    K: Clone + Eq + Hash,
    V: Clone,
    E: Clone,
    F: Future<Output = Result<Vec<(K, V)>, E>>,
{
    // One for all batches: to move a timer costs less than to make one.
    let mut timer = pin!(sleep_until(Instant::now()));
    loop {
        if slot.joins() {
            for _ in 0..passes {
                yield_now().await;
            }
        }
        let Some(mut batch) = slot.leave() else { return };
        batch.retain(|waiter| !waiter.reply.is_closed());
        let Some((first, last)) = ends(&batch) else { continue };
        counters.count(&batch);
        timer.as_mut().reset(first + timeout);
        let mut fetched = pin!(fetch(batch.keys(), last + timeout));
        loop {
            tokio::select! {
                biased;
                found = &mut fetched => break answer(batch, found),
                () = all_left(&mut batch) => break,
                () = &mut timer => {}
            }
            let now = Instant::now();
            let is_late = |waiter: &Waiter<V, E>| waiter.since + timeout <= now;
            let (late, next) = slot.expire(is_late, |waiter| waiter.since);
            tell(late, Err(Failure::Late));
            tell(batch.expire(is_late), Err(Failure::Late));
            let next = next.into_iter().chain(ends(&batch).map(|(first, _)| first)).min();
            timer.as_mut().reset(next.unwrap_or(now) + timeout);
        }
    }
}

/// When the first and the last of those who wait for a batch came.
fn ends<K: Clone + Eq + Hash, V, E>(batch: &Batch<K, Waiter<V, E>>) -> Option<(Instant, Instant)> {
    let came = || batch.waiters().map(|waiter| waiter.since);
    came().min().zip(came().max())
}

/// Waits until nobody waits for any of it.
async fn all_left<K: Clone + Eq + Hash, V, E>(batch: &mut Batch<K, Waiter<V, E>>) {
    for waiter in batch.waiters_mut() {
        waiter.reply.closed().await;
    }
}

impl Counters {
    fn count<K: Clone + Eq + Hash, V, E>(&self, batch: &Batch<K, Waiter<V, E>>) {
        let now = Instant::now();
        let waited: Duration = batch.waiters().map(|waiter| now.saturating_duration_since(waiter.since)).sum();
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.keys.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.sent.fetch_add(batch.waiters().count() as u64, Ordering::Relaxed);
        self.waited_nanos.fetch_add(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Tells everyone what was found.
fn answer<K, V, E>(mut batch: Batch<K, Waiter<V, E>>, found: Result<Vec<(K, V)>, E>)
where
    K: Clone + Eq + Hash,
    V: Clone,
    E: Clone,
{
    let absent = match found {
        Ok(rows) => {
            for (key, row) in rows {
                tell(batch.take(&key), Ok(Some(row)));
            }
            Ok(None)
        }
        Err(error) => Err(Failure::Fetch(error)),
    };
    for waiters in batch.rest() {
        tell(waiters, absent.clone());
    }
}

fn tell<V: Clone, E: Clone>(mut waiters: Vec<Waiter<V, E>>, row: Result<Option<V>, Failure<E>>) {
    let last = waiters.pop();
    // Who has gone away wants nothing.
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
