//! Who may wait for a hash, and whose turn it is: a queue that is fair by client, after FQ-CoDel (RFC 8290). No I/O, no clock.
//!
//! Every client has a flow of its own for each kind of hash. Flows of one kind take turns, one hash each; while both kinds
//! wait, one in [`CHECKS_PER_NEW`]` + 1` hashes is of a new password. So how long a client waits depends on how many others
//! there are, and not on how many requests they send.
//!
//! A flow that stands (`standing`) is cut to what keeps the threads busy; so is all of one kind if too many clients stand in it.
//! Where there is no place left, the largest flow gives one up for a client that would still have fewer: its oldest, as
//! CoDel drops from the front. That one's client has waited longest and is the likeliest to have gone, and those behind it
//! are served sooner.
//!
//! Each step takes at most logarithmic time in the number of places (a flow that is found to stand gives up several at once), and
//! nothing is remembered of a client that has none.

mod lane;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use lane::Lane;

use crate::model::Network;

/// So many checks are begun for one new password while both wait.
const CHECKS_PER_NEW: u32 = 3;
/// New passwords have one in so many places while checks want the others.
const NEW_SHARE: usize = 4;

/// What a hash is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashKind {
    /// To check a password.
    Check,
    /// To store a new one.
    New,
}

/// How many may wait, as things are now.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLimits {
    /// The most places, those of hashes that are being computed included.
    pub(super) max_places: usize,
    /// So many places of one kind are a crowd: if there are more clients for long, that kind is cut to it.
    pub(super) crowd: usize,
    /// So many places of one client are more than a moment's.
    pub(super) long: usize,
    /// What one client has while its flow stands.
    pub(super) enough: usize,
    /// How long a burst may take to drain.
    pub(super) patience: Duration,
}

/// What became of a request for a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The number of the place, if there was one.
    pub(super) place: Option<u64>,
    /// The places that were given up.
    pub(super) evicted: Vec<u64>,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    checks: Lane,
    new: Lane,
    places: HashMap<u64, (HashKind, Network)>,
    next_number: u64,
    running: usize,
    /// Checks begun since the last new password.
    checks_since_new: u32,
}

impl FairQueue {
    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// How many hashes are being computed.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Gives `client` a place for a hash if there is one for it.
    pub(super) fn enter(&mut self, client: Network, kind: HashKind, limits: &QueueLimits, now: Instant) -> Entry {
        let mut evicted = self.lane(kind).find_standing(client, limits, now);
        for &number in &evicted {
            self.leave(number);
        }
        let has_room = match self.lane(kind).refusal(client, limits) {
            Some(lane::Refusal::Enough) => false,
            Some(lane::Refusal::Crowded) => self.displace(kind, Some(client), &mut evicted),
            None if self.len() < limits.max_places => true,
            None => match self.over_share(kind, limits) {
                Some(other) => self.displace(other, None, &mut evicted),
                None => self.displace(kind, Some(client), &mut evicted),
            },
        };
        let place = has_room.then(|| self.insert(client, kind));
        Entry { place, evicted }
    }

    /// Has a place take its turn; false if it was given up.
    pub(super) fn ready(&mut self, number: u64) -> bool {
        let Some(&(kind, client)) = self.places.get(&number) else { return false };
        self.lane(kind).ready(client, number);
        true
    }

    /// The next place whose hash is to be begun.
    pub(super) fn begin_next(&mut self) -> Option<u64> {
        let kind = match (self.checks.has_ready(), self.new.has_ready()) {
            (false, false) => return None,
            (true, false) => HashKind::Check,
            (false, true) => HashKind::New,
            (true, true) if self.checks_since_new < CHECKS_PER_NEW => HashKind::Check,
            (true, true) => HashKind::New,
        };
        self.checks_since_new = match kind {
            HashKind::Check => (self.checks_since_new + 1).min(CHECKS_PER_NEW),
            HashKind::New => 0,
        };
        let number = self.lane(kind).begin_next()?;
        self.running += 1;
        Some(number)
    }

    /// Frees a place: its hash is computed, or nobody wants it any more.
    pub(super) fn leave(&mut self, number: u64) {
        let Some((kind, client)) = self.places.remove(&number) else { return };
        if self.lane(kind).leave(client, number) {
            self.running -= 1;
        }
    }

    fn insert(&mut self, client: Network, kind: HashKind) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.places.insert(number, (kind, client));
        self.lane(kind).insert(client, number);
        number
    }

    /// The kind that has more places than its share, if `kind` has less than its own.
    fn over_share(&self, kind: HashKind, limits: &QueueLimits) -> Option<HashKind> {
        let share_of_new = (limits.max_places / NEW_SHARE).max(1);
        match kind {
            HashKind::Check => (self.new.len() > share_of_new).then_some(HashKind::New),
            HashKind::New => (self.new.len() < share_of_new).then_some(HashKind::Check),
        }
    }

    /// Has the largest flow of a kind give a place up, for a client that would still have fewer if it is of the same kind.
    fn displace(&mut self, kind: HashKind, for_client: Option<Network>, evicted: &mut Vec<u64>) -> bool {
        let Some(number) = self.lane(kind).victim(for_client) else { return false };
        self.leave(number);
        evicted.push(number);
        true
    }

    fn lane(&mut self, kind: HashKind) -> &mut Lane {
        match kind {
            HashKind::Check => &mut self.checks,
            HashKind::New => &mut self.new,
        }
    }
}
