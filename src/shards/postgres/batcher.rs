//! Joins lookups by key into batches: one query for many rows costs the server about as much as one query for one.
//!
//! A lookup leaves at once if fewer than `slots` batches are under way; otherwise it leaves with all that came meanwhile as
//! soon as one of them ends. There is no timer, and nobody waits for company. Two lookups of one key share a row only in a
//! batch that has not been sent: to join one under way could read behind a write that was acknowledged before the lookup began.
//!
//! A batch is a task of its own, so a caller that goes away leaves the others untouched; nobody waits for keys that all of
//! their callers have left before they were sent. `gathering` decides who leaves when, without I/O.

mod gathering;

use std::{
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use gathering::{Batch, Gathering};
use tokio::sync::oneshot;

use crate::store_error::StoreError;

/// What a batch found: each key that has a row, and the row or why it can't be read.
pub(super) type Found<K, V> = Result<Vec<(K, Result<V, StoreError>)>, StoreError>;

/// How lookups leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPolicy {
    /// How many batches may be under way at a time.
    pub slots: usize,
    /// The most keys of one.
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
    /// How long lookups waited until they were sent, all of them together.
    pub waited: Duration,
    /// How many batches are under way.
    pub in_flight: usize,
    /// How many keys wait.
    pub waiting: usize,
}

/// Joins lookups; clones share the batches.
#[derive(Debug)]
pub(super) struct Batcher<K, V>(Arc<Inner<K, V>>);

impl<K, V> Clone for Batcher<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Inner<K, V> {
    gathering: Mutex<Gathering<K, Waiter<V>>>,
    lookups: AtomicU64,
    batches: AtomicU64,
    keys: AtomicU64,
    waited_nanos: AtomicU64,
}

/// Whoever waits for a row.
#[derive(Debug)]
struct Waiter<V> {
    since: Instant,
    reply: oneshot::Sender<Result<Option<V>, StoreError>>,
}

impl<K, V> Batcher<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    pub(super) fn new(policy: BatchPolicy) -> Self {
        Self(Arc::new(Inner {
            gathering: Mutex::new(Gathering::new(policy)),
            lookups: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            keys: AtomicU64::new(0),
            waited_nanos: AtomicU64::new(0),
        }))
    }

    /// The row of `key`, by a batch that `fetch` gets. What `fetch` leaves out is not there.
    ///
    /// # Errors
    /// Those of `fetch`; none if the batch's task has died.
    pub(super) async fn find(
        &self,
        key: K,
        fetch: impl Fn(Vec<K>) -> BoxFuture<'static, Found<K, V>> + Send + 'static,
    ) -> Option<Result<Option<V>, StoreError>> {
        let (reply, row) = oneshot::channel();
        self.0.lookups.fetch_add(1, Ordering::Relaxed);
        let leaves = self.0.lock().add(key, Waiter { since: Instant::now(), reply });
        if let Some(batch) = leaves {
            tokio::spawn(Arc::clone(&self.0).send(batch, fetch));
        }
        row.await.ok()
    }

    /// What batches there were.
    pub(super) fn stats(&self) -> BatchStats {
        let inner = &self.0;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let gathering = inner.lock();
        BatchStats {
            lookups: count(&inner.lookups),
            batches: count(&inner.batches),
            keys: count(&inner.keys),
            waited: Duration::from_nanos(count(&inner.waited_nanos)),
            in_flight: gathering.in_flight(),
            waiting: gathering.waiting(),
        }
    }
}

impl<K, V> Inner<K, V> {
    fn lock(&self) -> MutexGuard<'_, Gathering<K, Waiter<V>>> {
        // Nothing panics while it holds the lock.
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot that is taken; dropping it without having asked what comes next frees it.
struct Slot<'a, K: Eq + Hash + Clone, V>(Option<&'a Inner<K, V>>);

impl<K: Eq + Hash + Clone, V> Slot<'_, K, V> {
    /// The next batch, or none, and then the slot is free.
    fn next(&mut self) -> Option<Batch<K, Waiter<V>>> {
        let next = self.0?.lock().next();
        if next.is_none() {
            self.0 = None;
        }
        next
    }
}

impl<K: Eq + Hash + Clone, V> Drop for Slot<'_, K, V> {
    fn drop(&mut self) {
        // Only a panic comes here with the slot still taken: who waits is let go, and told by that.
        if let Some(inner) = self.0 {
            while inner.lock().next().is_some() {}
        }
    }
}

impl<K, V> Inner<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Sends a batch, and then those that have gathered meanwhile.
    async fn send(
        self: Arc<Self>,
        first: Batch<K, Waiter<V>>,
        fetch: impl Fn(Vec<K>) -> BoxFuture<'static, Found<K, V>> + Send + 'static,
    ) {
        let mut slot = Slot(Some(&*self));
        let mut batch = Some(first);
        while let Some(mut sent) = batch {
            sent.retain(|waiter| !waiter.reply.is_closed());
            if !sent.is_empty() {
                self.count(&sent);
                let found = fetch(sent.keys()).await;
                answer(sent, found);
            }
            batch = slot.next();
        }
    }

    fn count(&self, batch: &Batch<K, Waiter<V>>) {
        let now = Instant::now();
        let waited: Duration = batch.waiters().map(|waiter| now.saturating_duration_since(waiter.since)).sum();
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.keys.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.waited_nanos.fetch_add(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Tells everyone what was found.
fn answer<K: Eq + Hash + Clone, V: Clone>(mut batch: Batch<K, Waiter<V>>, found: Found<K, V>) {
    match found {
        Ok(rows) => {
            for (key, row) in rows {
                tell(batch.take(&key), row.map(Some));
            }
            for waiters in batch.rest() {
                tell(waiters, Ok(None));
            }
        }
        Err(error) => {
            for waiters in batch.rest() {
                tell(waiters, Err(error.retold()));
            }
        }
    }
}

fn tell<V: Clone>(mut waiters: Vec<Waiter<V>>, row: Result<Option<V>, StoreError>) {
    let last = waiters.pop();
    for waiter in waiters {
        let copy = match &row {
            Ok(row) => Ok(row.clone()),
            Err(error) => Err(error.retold()),
        };
        // Who has gone away wants nothing.
        let _ = waiter.reply.send(copy);
    }
    if let Some(waiter) = last {
        let _ = waiter.reply.send(row);
    }
}

#[cfg(test)]
mod tests;
