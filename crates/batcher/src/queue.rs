//! Waiting keys, and which of them are sent together. Without locks and I/O.
//!
//! Invariants: at most `max_in_flight` slots are in use. Keys wait only if a slot is about to send them or all slots are in use.
//! A waiting key has one entry, regardless of its number of waiters. Keys are sent in the order of their first waiter.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use foldhash::fast::RandomState;

use super::BatchLimits;

/// Waiting keys and the slots in use.
#[derive(Debug)]
pub(super) struct KeyQueue<K, W> {
    limits: BatchLimits,
    /// The number of slots in use.
    in_flight: usize,
    /// The number of slots in use whose batch is about to be sent. It will contain all keys that wait by then.
    ready: usize,
    /// Whether the last batch had several waiters.
    coalesced: bool,
    order: VecDeque<K>,
    waiting: ByKey<K, W>,
}

/// Keys that are sent together, and their waiters.
#[derive(Debug)]
pub(super) struct Batch<K, W>(ByKey<K, W>);

/// Waiters by key. Their number is bounded by the requests in flight, too few for an attack by colliding keys.
type ByKey<K, W> = HashMap<K, Vec<W>, RandomState>;

fn take_expired<K, W>(waiting: &mut ByKey<K, W>, is_expired: impl Fn(&W) -> bool) -> Vec<W> {
    waiting.values_mut().flat_map(|waiters| waiters.extract_if(.., |waiter| is_expired(waiter))).collect()
}

impl<K, W> KeyQueue<K, W> {
    pub(super) fn new(limits: BatchLimits) -> Self {
        Self { limits, in_flight: 0, ready: 0, coalesced: false, order: VecDeque::new(), waiting: HashMap::default() }
    }

    /// Returns the number of slots in use.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Returns the number of waiting keys.
    pub(super) fn waiting(&self) -> usize {
        self.order.len()
    }

    /// Returns whether a batch is likely to grow if it waits a moment.
    pub(super) fn coalesces(&self) -> bool {
        self.coalesced
    }

    /// The batch of a slot was answered; the slot is about to send the next one.
    pub(super) fn mark_ready(&mut self) {
        self.ready += 1;
    }

    /// Frees a slot whose owner has ended, and removes all waiters, so that none waits for a batch that is never sent.
    pub(super) fn abandon(&mut self, was_ready: bool) -> Vec<W> {
        self.in_flight -= 1;
        self.ready -= usize::from(was_ready);
        self.order.clear();
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }
}

impl<K: Clone + Eq + Hash, W> KeyQueue<K, W> {
    /// Adds a waiter for a key. Returns whether the caller must use a new slot, which is about to send a batch.
    pub(super) fn add(&mut self, key: K, waiter: W) -> bool {
        // Few keys have more than one waiter.
        let waiters = self.waiting.entry(key.clone()).or_insert_with(|| Vec::with_capacity(1));
        if waiters.is_empty() {
            self.order.push_back(key);
        }
        waiters.push(waiter);
        let needs_slot =
            self.order.len() > self.ready * self.limits.max_keys && self.in_flight < self.limits.max_in_flight;
        if needs_slot {
            self.in_flight += 1;
            self.ready += 1;
        }
        needs_slot
    }

    /// Removes expired waiters.
    pub(super) fn expire(&mut self, is_expired: impl Fn(&W) -> bool) -> Vec<W> {
        let expired = take_expired(&mut self.waiting, is_expired);
        self.waiting.retain(|_, waiters| !waiters.is_empty());
        self.order.retain(|key| self.waiting.contains_key(key));
        expired
    }

    /// Iterates over all waiters.
    pub(super) fn waiters(&self) -> impl Iterator<Item = &W> {
        self.waiting.values().flatten()
    }

    /// Removes the next batch, for a slot that is about to send one. If there is none, the slot is free again.
    pub(super) fn next_batch(&mut self) -> Option<Batch<K, W>> {
        self.ready -= 1;
        let count = self.order.len().min(self.limits.max_keys);
        if count == 0 {
            self.in_flight -= 1;
            return None;
        }
        let keys = self.order.drain(..count);
        let batch = Batch(keys.filter_map(|key| self.waiting.remove_entry(&key)).collect());
        self.coalesced = batch.waiters().nth(1).is_some();
        Some(batch)
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

    pub(super) fn waiters_mut(&mut self) -> impl Iterator<Item = &mut W> {
        self.0.values_mut().flatten()
    }

    /// Keeps the waiters for which `keep` is true, and the keys that still have waiters.
    pub(super) fn retain(&mut self, keep: impl Fn(&W) -> bool) {
        self.0.retain(|_, waiters| {
            waiters.retain(&keep);
            !waiters.is_empty()
        });
    }

    /// Removes expired waiters.
    pub(super) fn expire(&mut self, is_expired: impl Fn(&W) -> bool) -> Vec<W> {
        take_expired(&mut self.0, is_expired)
    }

    /// Removes the waiters of a key.
    pub(super) fn take(&mut self, key: &K) -> Vec<W> {
        self.0.remove(key).unwrap_or_default()
    }

    /// Returns the remaining waiters, by key.
    pub(super) fn rest(self) -> impl Iterator<Item = Vec<W>> {
        self.0.into_values()
    }
}

#[cfg(test)]
mod tests;
