//! Which keys wait, and which leave together: the decision alone.
//!
//! Invariants: at most `slots` batches are under way; while fewer are, nothing waits; a key that waits has one entry,
//! however many wait for it; those that came first leave first.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use super::BatchPolicy;

#[derive(Debug)]
pub(super) struct Gathering<K, W> {
    policy: BatchPolicy,
    in_flight: usize,
    order: VecDeque<K>,
    waiting: HashMap<K, Vec<W>>,
}

/// Keys that leave together, and who waits for each.
#[derive(Debug)]
pub(super) struct Batch<K, W>(HashMap<K, Vec<W>>);

impl<K, W> Gathering<K, W> {
    pub(super) fn new(policy: BatchPolicy) -> Self {
        Self { policy, in_flight: 0, order: VecDeque::new(), waiting: HashMap::new() }
    }

    /// How many batches are under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many keys wait.
    pub(super) fn waiting(&self) -> usize {
        self.order.len()
    }

    /// A batch's slot is given up: all who wait, to be told so. As nobody waits then, the slot can be free.
    pub(super) fn abandon(&mut self) -> Vec<W> {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.order.clear();
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }
}

impl<K: Clone + Eq + Hash, W> Gathering<K, W> {
    /// Adds one who waits for a key; the batch to send if there is a slot for it.
    pub(super) fn add(&mut self, key: K, waiter: W) -> Option<Batch<K, W>> {
        if self.in_flight < self.policy.slots {
            self.in_flight += 1;
            return Some(Batch(HashMap::from([(key, vec![waiter])])));
        }
        let waiters = self.waiting.entry(key.clone()).or_default();
        if waiters.is_empty() {
            self.order.push_back(key);
        }
        waiters.push(waiter);
        None
    }

    /// A batch ended: the next one in its slot, or none, and then the slot is free.
    pub(super) fn next(&mut self) -> Option<Batch<K, W>> {
        let count = self.order.len().min(self.policy.most);
        if count == 0 {
            self.in_flight = self.in_flight.saturating_sub(1);
            return None;
        }
        let keys = self.order.drain(..count);
        Some(Batch(keys.filter_map(|key| self.waiting.remove_entry(&key)).collect()))
    }
}

impl<K: Clone + Eq + Hash, W> Batch<K, W> {
    pub(super) fn keys(&self) -> Vec<K> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn waiters(&self) -> impl Iterator<Item = &W> {
        self.0.values().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn waiters_mut(&mut self) -> impl Iterator<Item = &mut W> {
        self.0.values_mut().flatten()
    }

    /// Keeps those for whom `keep` holds, and the keys that someone still waits for.
    pub(super) fn retain(&mut self, keep: impl Fn(&W) -> bool) {
        self.0.retain(|_, waiters| {
            waiters.retain(&keep);
            !waiters.is_empty()
        });
    }

    /// Takes out those who wait for a key.
    pub(super) fn take(&mut self, key: &K) -> Vec<W> {
        self.0.remove(key).unwrap_or_default()
    }

    /// All who are left, by key.
    pub(super) fn rest(self) -> impl Iterator<Item = Vec<W>> {
        self.0.into_values()
    }
}

#[cfg(test)]
mod tests;
