//! Which keys wait, and which leave together: the decision alone.
//!
//! Invariants: at most `slots` slots are taken; whatever waits has a slot that will ask for it, or all are taken; a key that
//! waits has one entry, however many wait for it; those that came first leave first.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use foldhash::fast::RandomState;

use super::BatchPolicy;

#[derive(Debug)]
pub(super) struct Gathering<K, W> {
    policy: BatchPolicy,
    /// Slots that are taken,
    taken: usize,
    /// and those of them that board: their batch is about to leave, with all that have come until then.
    boarding: usize,
    /// Whether lookups were joined in the batch that left last.
    joined: bool,
    order: VecDeque<K>,
    waiting: ByKey<K, W>,
}

/// Keys that leave together, and who waits for each.
#[derive(Debug)]
pub(super) struct Batch<K, W>(ByKey<K, W>);

/// Those who wait, by key. There are no more of them than requests under way: too few for keys that somebody chose to do harm.
type ByKey<K, W> = HashMap<K, Vec<W>, RandomState>;

fn take_late<K, W>(waiting: &mut ByKey<K, W>, is_late: impl Fn(&W) -> bool) -> Vec<W> {
    waiting.values_mut().flat_map(|waiters| waiters.extract_if(.., |waiter| is_late(waiter))).collect()
}

impl<K, W> Gathering<K, W> {
    pub(super) fn new(policy: BatchPolicy) -> Self {
        Self { policy, taken: 0, boarding: 0, joined: false, order: VecDeque::new(), waiting: HashMap::default() }
    }

    /// How many slots are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// How many keys wait.
    pub(super) fn waiting(&self) -> usize {
        self.order.len()
    }

    /// Whether a batch that waits a moment can expect company.
    pub(super) fn joins(&self) -> bool {
        self.joined
    }

    /// The batch of a slot that boards has come back.
    pub(super) fn board(&mut self) {
        self.boarding += 1;
    }

    /// A slot is given up: all who wait, to be told so. As nobody waits then, the slot can be free.
    pub(super) fn abandon(&mut self, boards: bool) -> Vec<W> {
        self.taken -= 1;
        self.boarding -= usize::from(boards);
        self.order.clear();
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }
}

impl<K: Clone + Eq + Hash, W> Gathering<K, W> {
    /// Adds one who waits for a key; whether a slot is to be taken, which boards.
    pub(super) fn add(&mut self, key: K, waiter: W) -> bool {
        // Few keys are asked for by more than one.
        let waiters = self.waiting.entry(key.clone()).or_insert_with(|| Vec::with_capacity(1));
        if waiters.is_empty() {
            self.order.push_back(key);
        }
        waiters.push(waiter);
        let needs_slot = self.order.len() > self.boarding * self.policy.most && self.taken < self.policy.slots;
        if needs_slot {
            self.taken += 1;
            self.boarding += 1;
        }
        needs_slot
    }

    /// Takes out those who wait and are late.
    pub(super) fn expire(&mut self, is_late: impl Fn(&W) -> bool) -> Vec<W> {
        let late = take_late(&mut self.waiting, is_late);
        self.waiting.retain(|_, waiters| !waiters.is_empty());
        self.order.retain(|key| self.waiting.contains_key(key));
        late
    }

    /// All who wait.
    pub(super) fn waiters(&self) -> impl Iterator<Item = &W> {
        self.waiting.values().flatten()
    }

    /// The batch of a slot that boards leaves; if there is none, the slot is free.
    pub(super) fn leave(&mut self) -> Option<Batch<K, W>> {
        self.boarding -= 1;
        let count = self.order.len().min(self.policy.most);
        if count == 0 {
            self.taken -= 1;
            return None;
        }
        let keys = self.order.drain(..count);
        let batch = Batch(keys.filter_map(|key| self.waiting.remove_entry(&key)).collect());
        self.joined = batch.waiters().nth(1).is_some();
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

    /// Keeps those for whom `keep` holds, and the keys that someone still waits for.
    pub(super) fn retain(&mut self, keep: impl Fn(&W) -> bool) {
        self.0.retain(|_, waiters| {
            waiters.retain(&keep);
            !waiters.is_empty()
        });
    }

    /// Takes out those who are late.
    pub(super) fn expire(&mut self, is_late: impl Fn(&W) -> bool) -> Vec<W> {
        take_late(&mut self.0, is_late)
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
