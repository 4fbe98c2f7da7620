//! The key queue, shared by threads. The owner of a batch slot sends one batch after the other, as long as there are any.
//!
//! Invariant: every slot in use has an owner. If an owner is dropped before the queue is empty (its task has panicked, or the
//! runtime ends), all waiters are dropped, so that none waits for a batch that is never sent.

#[cfg(not(feature = "loom"))]
use std::sync::{Mutex, MutexGuard};
use std::{
    hash::Hash,
    sync::{Arc, PoisonError},
};

#[cfg(feature = "loom")]
use loom::sync::{Mutex, MutexGuard};

use super::{
    BatchLimits,
    queue::{Batch, KeyQueue},
};

/// The key queue behind a lock.
#[derive(Debug)]
pub(super) struct Scheduler<K, W>(Mutex<KeyQueue<K, W>>);

/// The right to have one batch in flight.
#[derive(Debug)]
pub(super) struct BatchSlot<K, W> {
    scheduler: Arc<Scheduler<K, W>>,
    state: State,
    coalesces: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    InFlight,
    Free,
}

impl<K, W> Scheduler<K, W> {
    pub(super) fn new(limits: BatchLimits) -> Self {
        Self(Mutex::new(KeyQueue::new(limits)))
    }

    /// Returns the number of slots in use, and of waiting keys.
    pub(super) fn counts(&self) -> (usize, usize) {
        let queue = self.lock();
        (queue.in_flight(), queue.waiting())
    }

    fn lock(&self) -> MutexGuard<'_, KeyQueue<K, W>> {
        // No holder of the lock panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash, W> Scheduler<K, W> {
    /// Adds a waiter for a key. Returns a slot if the caller must send a batch.
    pub(super) fn add(self: &Arc<Self>, key: K, waiter: W) -> Option<BatchSlot<K, W>> {
        let mut queue = self.lock();
        let needs_slot = queue.add(key, waiter);
        needs_slot.then(|| BatchSlot { scheduler: Arc::clone(self), state: State::Ready, coalesces: queue.coalesces() })
    }
}

impl<K: Clone + Eq + Hash, W> BatchSlot<K, W> {
    /// Returns whether the next batch is likely to grow if it waits a moment.
    pub(super) fn coalesces(&self) -> bool {
        self.coalesces
    }

    /// Returns the next batch, after the last one was answered. If there is none, the slot is free again.
    pub(super) fn next_batch(&mut self) -> Option<Batch<K, W>> {
        let mut queue = self.scheduler.lock();
        match self.state {
            State::Ready => {}
            State::InFlight => queue.mark_ready(),
            State::Free => return None,
        }
        let batch = queue.next_batch();
        self.coalesces = queue.coalesces();
        self.state = if batch.is_some() { State::InFlight } else { State::Free };
        batch
    }

    /// Removes expired waiters from the queue. Returns them, and the earliest start time of the others.
    pub(super) fn expire<T: Ord>(
        &self,
        is_expired: impl Fn(&W) -> bool,
        start_time: impl Fn(&W) -> T,
    ) -> (Vec<W>, Option<T>) {
        let mut queue = self.scheduler.lock();
        let expired = queue.expire(is_expired);
        let next = queue.waiters().map(start_time).min();
        (expired, next)
    }
}

impl<K, W> Drop for BatchSlot<K, W> {
    fn drop(&mut self) {
        if self.state != State::Free {
            let released = self.scheduler.lock().abandon(self.state == State::Ready);
            drop(released);
        }
    }
}
