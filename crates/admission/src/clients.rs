//! The number of permits that each client holds.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

/// The number of hash buckets. Few clients hold permits at a time, so two clients rarely share a bucket.
const BUCKETS: usize = 4096;

#[derive(Debug)]
pub(super) struct PermitCounts {
    counts: Box<[u32]>,
    hashes: RandomState,
}

impl PermitCounts {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; BUCKETS].into(), hashes: RandomState::default() }
    }

    pub(super) fn held_by(&self, client: impl Hash) -> usize {
        self.counts[self.bucket(client)] as usize
    }

    pub(super) fn add(&mut self, client: impl Hash) {
        self.counts[self.bucket(client)] += 1;
    }

    /// Removes one permit; returns whether it was the client's last one.
    pub(super) fn remove(&mut self, client: impl Hash) -> bool {
        let count = &mut self.counts[self.bucket(client)];
        *count -= 1;
        *count == 0
    }

    fn bucket(&self, client: impl Hash) -> usize {
        self.hashes.hash_one(client) as usize % BUCKETS
    }
}
