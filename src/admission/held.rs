//! How many places each client holds.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::model::Network;

/// Clients are counted in so many slots. Few are in use at a time, and by chance: hardly ever do two clients share one.
const SLOTS: usize = 4096;

#[derive(Debug)]
pub(super) struct Held {
    counts: Box<[u32]>,
    hashes: RandomState,
}

impl Held {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; SLOTS].into(), hashes: RandomState::default() }
    }

    pub(super) fn of(&self, client: Network) -> usize {
        self.counts[self.slot(client)] as usize
    }

    pub(super) fn enter(&mut self, client: Network) {
        self.counts[self.slot(client)] += 1;
    }

    /// Gives one back; whether it was the last.
    pub(super) fn exit(&mut self, client: Network) -> bool {
        let count = &mut self.counts[self.slot(client)];
        *count -= 1;
        *count == 0
    }

    fn slot(&self, client: Network) -> usize {
        self.hashes.hash_one(client) as usize % SLOTS
    }
}
