//! The gathering, shared by threads: whoever is given a slot sends a batch in it, and then the next one, while there is one.
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
pub(super) struct Slot<K, W> {
    slots: Arc<Slots<K, W>>,
    state: State,
    joins: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Boards,
    UnderWay,
    Free,
}

impl<K, W> Slots<K, W> {
    pub(super) fn new(policy: BatchPolicy) -> Self {
        Self(Mutex::new(Gathering::new(policy)))
    }

    /// How many slots are taken, and how many keys wait.
    pub(super) fn taken(&self) -> (usize, usize) {
        let gathering = self.lock();
        (gathering.taken(), gathering.waiting())
    }

    fn lock(&self) -> MutexGuard<'_, Gathering<K, W>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash, W> Slots<K, W> {
    /// Adds one who waits for a key; a slot to send a batch in, if one is needed and free.
    pub(super) fn add(self: &Arc<Self>, key: K, waiter: W) -> Option<Slot<K, W>> {
        let mut gathering = self.lock();
        let needs_slot = gathering.add(key, waiter);
        needs_slot.then(|| Slot { slots: Arc::clone(self), state: State::Boards, joins: gathering.joins() })
    }
}

impl<K: Clone + Eq + Hash, W> Slot<K, W> {
    /// Whether the next batch can expect company if it waits a moment.
    pub(super) fn joins(&self) -> bool {
        self.joins
    }

    /// The next batch, once the one before has come back; or none, and then the slot is free.
    pub(super) fn leave(&mut self) -> Option<Batch<K, W>> {
        let mut gathering = self.slots.lock();
        match self.state {
            State::Boards => {}
            State::UnderWay => gathering.board(),
            State::Free => return None,
        }
        let batch = gathering.leave();
        self.joins = gathering.joins();
        self.state = if batch.is_some() { State::UnderWay } else { State::Free };
        batch
    }

    /// Takes out those who wait and are late, and tells when the first of the others came.
    pub(super) fn expire<T: Ord>(&self, is_late: impl Fn(&W) -> bool, came: impl Fn(&W) -> T) -> (Vec<W>, Option<T>) {
        let mut gathering = self.slots.lock();
        let late = gathering.expire(is_late);
        let next = gathering.waiters().map(came).min();
        (late, next)
    }
}

impl<K, W> Drop for Slot<K, W> {
    fn drop(&mut self) {
        if self.state != State::Free {
            let let_go = self.slots.lock().abandon(self.state == State::Boards);
            drop(let_go);
        }
    }
}
