//! Fair queueing of hashes by client, after FQ-CoDel (RFC 8290). No I/O, no clock.
//!
//! Every client has one flow for each kind of hash. Flows of one kind take turns, one hash each. While both kinds wait, one
//! in [`CHECKS_PER_NEW`]` + 1` hashes is of a new password. So a client's waiting time depends on the number of other
//! clients, and not on how many requests they send.
//!
//! A standing flow (`standing`) is cut to what keeps the threads busy. If too many clients wait for too long, all flows of
//! that kind are cut. When all slots are taken, the largest flow gives one up for a client with at least two fewer. It gives
//! up its oldest slot, as CoDel drops from the head: that request has waited longest, its client has most likely gone, and
//! everyone behind it is served sooner.
//!
//! Each operation takes logarithmic time in the number of slots, apart from evicting several slots of a flow that begins
//! to stand. Nothing is kept about a client without slots.

mod flows;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use flows::Flows;

use crate::model::Network;

/// Checks begun for each new password while both kinds wait.
const CHECKS_PER_NEW: u32 = 3;
/// Divisor of the slots: new passwords get this part of them while checks compete for the rest.
const NEW_SHARE: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashKind {
    /// Checks a password.
    Check,
    /// Hashes a new password.
    New,
}

/// Limits of the queue, derived from the current duration of a hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLimits {
    /// Maximum of slots, including those whose hash is being computed.
    pub(super) max_slots: usize,
    /// Slots of one kind that are left once more clients than this have waited for an interval.
    pub(super) standing_kind_limit: usize,
    /// Slots from which on a client's flow is long.
    pub(super) flow_threshold: usize,
    /// Slots that a client's flow keeps while it stands.
    pub(super) standing_flow_limit: usize,
    /// Time within which a burst drains; a flow that stays long for more than this stands.
    pub(super) interval: Duration,
}

/// Result of [`FairQueue::enter`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Number of the slot, or `None` if the client was refused.
    pub(super) slot: Option<u64>,
    /// Slots that others lost.
    pub(super) evicted: Vec<u64>,
}

#[derive(Debug, Default)]
pub(super) struct FairQueue {
    checks: Flows,
    new: Flows,
    slots: HashMap<u64, (HashKind, Network)>,
    next_number: u64,
    running: usize,
    /// Checks begun since the last new password.
    checks_since_new: u32,
}

impl FairQueue {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Gives `client` a slot if there is one for it.
    pub(super) fn enter(&mut self, client: Network, kind: HashKind, limits: &QueueLimits, now: Instant) -> Entry {
        let mut evicted = self.flows(kind).detect_standing(client, limits, now);
        for &number in &evicted {
            self.leave(number);
        }
        let has_room = match self.flows(kind).refusal(client, limits) {
            Some(flows::Refusal::FlowLimit) => false,
            Some(flows::Refusal::KindLimit) => self.evict_largest(kind, Some(client), &mut evicted),
            None if self.len() < limits.max_slots => true,
            None => match self.over_share(kind, limits) {
                Some(other) => self.evict_largest(other, None, &mut evicted),
                None => self.evict_largest(kind, Some(client), &mut evicted),
            },
        };
        let slot = has_room.then(|| self.insert(client, kind));
        Entry { slot, evicted }
    }

    /// Lets a slot take its turn. Returns false if it was evicted.
    pub(super) fn ready(&mut self, number: u64) -> bool {
        let Some(&(kind, client)) = self.slots.get(&number) else { return false };
        self.flows(kind).ready(client, number);
        true
    }

    /// Returns the slot whose hash is to begin next, and counts it as running.
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
        let number = self.flows(kind).begin_next()?;
        self.running += 1;
        Some(number)
    }

    /// Frees a slot, whether its hash was computed or not.
    pub(super) fn leave(&mut self, number: u64) {
        let Some((kind, client)) = self.slots.remove(&number) else { return };
        if self.flows(kind).leave(client, number) {
            self.running -= 1;
        }
    }

    fn insert(&mut self, client: Network, kind: HashKind) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.slots.insert(number, (kind, client));
        self.flows(kind).insert(client, number);
        number
    }

    /// Returns the other kind if it has more slots than its share and `kind` has fewer than its own.
    fn over_share(&self, kind: HashKind, limits: &QueueLimits) -> Option<HashKind> {
        let share_of_new = (limits.max_slots / NEW_SHARE).max(1);
        match kind {
            HashKind::Check => (self.new.len() > share_of_new).then_some(HashKind::New),
            HashKind::New => (self.new.len() < share_of_new).then_some(HashKind::Check),
        }
    }

    /// Evicts a slot of the largest flow of `kind`. With `for_client`, only if that flow
    /// has at least two slots more than the client.
    fn evict_largest(&mut self, kind: HashKind, for_client: Option<Network>, evicted: &mut Vec<u64>) -> bool {
        let Some(number) = self.flows(kind).victim(for_client) else { return false };
        self.leave(number);
        evicted.push(number);
        true
    }

    fn flows(&mut self, kind: HashKind) -> &mut Flows {
        match kind {
            HashKind::Check => &mut self.checks,
            HashKind::New => &mut self.new,
        }
    }
}
