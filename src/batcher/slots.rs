//! The gathering, shared by threads: whoever is given a slot sends the batch that comes with it, and asks for the next one.
//!
//! Invariant: each slot that is taken has an owner. One that is dropped before it ran out of batches (its task died, or the
//! runtime ends) lets go of all who wait: nobody waits for a batch that nobody would send.

#[cfg(not(feature = "loom"))]
use std::sync::{Mutex, MutexGuard};
use std::{
    hash::Hash,
    sync::{Arc, PoisonError},
};

#[cfg(feature = "loom")]
use loom::sync::{Mutex, MutexGuard};

use super::{
    BatchPolicy,
    gathering::{Batch, Gathering},
};

#[derive(Debug)]
pub(super) struct Slots<K, W>(Mutex<Gathering<K, W>>);

/// A slot that is taken.
#[derive(Debug)]
pub(super) struct Slot<K, W>(Option<Arc<Slots<K, W>>>);

impl<K, W> Slots<K, W> {
    pub(super) fn new(policy: BatchPolicy) -> Self {
        Self(Mutex::new(Gathering::new(policy)))
    }

    /// How many batches are under way, and how many keys wait.
    pub(super) fn taken(&self) -> (usize, usize) {
        let gathering = self.lock();
        (gathering.in_flight(), gathering.waiting())
    }

    fn lock(&self) -> MutexGuard<'_, Gathering<K, W>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash, W> Slots<K, W> {
    /// Adds one who waits for a key; a slot and the batch to send in it, if one is free.
    pub(super) fn add(self: &Arc<Self>, key: K, waiter: W) -> Option<(Slot<K, W>, Batch<K, W>)> {
        let batch = self.lock().add(key, waiter)?;
        Some((Slot(Some(Arc::clone(self))), batch))
    }
}

impl<K: Clone + Eq + Hash, W> Slot<K, W> {
    /// The next batch, or none, and then the slot is free.
    pub(super) fn next(&mut self) -> Option<Batch<K, W>> {
        let next = self.0.as_ref()?.lock().next();
        if next.is_none() {
            self.0 = None;
        }
        next
    }
}

impl<K, W> Drop for Slot<K, W> {
    fn drop(&mut self) {
        if let Some(slots) = &self.0 {
            let let_go = slots.lock().abandon();
            drop(let_go);
        }
    }
}
