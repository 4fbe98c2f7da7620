//! The share of the key space that a change of nodes moves, computed from the two partitioners alone.
//!
//! Shares are exact up to floating point: both key spaces are cut into pieces on which the owner is constant, and the
//! pieces are laid over each other. No key is sampled.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    Layout, Partitioner, range,
    ring::{Ring, share_of},
};

/// The keys that change their owner from one partitioner to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The share of the key space that changes its owner, 0 to 1. Pinned keys are not counted.
    pub moved_share: f64,
    /// The moves by pair of nodes, ordered by their ids.
    pub moves: Vec<Move>,
    /// The keys pinned before or after that change their owner.
    pub pinned: Vec<KeyMove>,
}

/// A share of the key space that goes from one node to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Move {
    /// The owner before.
    pub from: String,
    /// The owner after.
    pub to: String,
    /// The share of the key space, 0 to 1.
    pub share: f64,
}

/// A single key that goes from one node to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyMove {
    /// The key.
    pub key: String,
    /// The owner before.
    pub from: String,
    /// The owner after.
    pub to: String,
}

/// The partitioners alone do not determine the shares.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Ranges order keys by their text, and the number of keys between two texts depends on the keys.
    #[error("the share moved by key ranges depends on the keys: count it over the keys themselves")]
    DependsOnKeys,
}

/// Computes which share of the key space moves from which node to which when `new` replaces `old`.
///
/// # Errors
/// [`PlanError::DependsOnKeys`] if a range is compared with anything but a range of the same kind, or if split points or
/// their nodes differ.
pub fn plan(old: &Partitioner, new: &Partitioner) -> Result<Plan, PlanError> {
    let mut shares = BTreeMap::<(usize, usize), f64>::new();
    let mut add = |from: usize, to: usize, share: f64| *shares.entry((from, to)).or_default() += share;
    match (&old.layout, &new.layout) {
        (Layout::Ring { ring: from, .. }, Layout::Ring { ring: to, .. }) => ring_to_ring(from, to, add),
        (Layout::Hash, Layout::Hash) => hash_to_hash(old.nodes.len(), new.nodes.len(), add),
        (Layout::Hash, Layout::Ring { ring, .. }) => across(old.nodes.len(), ring, add),
        (Layout::Ring { ring, .. }, Layout::Hash) => {
            across(new.nodes.len(), ring, |to, from, share| add(from, to, share))
        }
        (Layout::NumericRange, Layout::NumericRange) => range_to_range(old.nodes.len(), new.nodes.len(), add),
        (Layout::SplitRange(from), Layout::SplitRange(to)) if from == to => same_ranges(old, new)?,
        _ => return Err(PlanError::DependsOnKeys),
    }
    Ok(assemble(old, new, shares))
}

fn assemble(old: &Partitioner, new: &Partitioner, shares: BTreeMap<(usize, usize), f64>) -> Plan {
    let mut moves: Vec<Move> = shares
        .into_iter()
        .map(|((from, to), share)| Move { from: old.nodes[from].id.clone(), to: new.nodes[to].id.clone(), share })
        .filter(|step| step.from != step.to)
        .collect();
    moves.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    let pinned = pinned_keys(old).chain(pinned_keys(new)).collect::<BTreeSet<_>>().into_iter().filter_map(|key| {
        let (from, to) = (old.partition(key).node_id, new.partition(key).node_id);
        (from != to).then(|| KeyMove { key: key.to_owned(), from: from.to_owned(), to: to.to_owned() })
    });
    Plan { moved_share: moves.iter().map(|step| step.share).sum(), pinned: pinned.collect(), moves }
}

fn pinned_keys(partitioner: &Partitioner) -> impl Iterator<Item = &str> {
    let pins = match &partitioner.layout {
        Layout::Ring { pins, .. } => Some(pins),
        _ => None,
    };
    pins.into_iter().flat_map(|pins| pins.keys().map(String::as_str))
}

fn ring_to_ring(old: &Ring, new: &Ring, mut add: impl FnMut(usize, usize, f64)) {
    let (mut old_arcs, mut new_arcs) = (old.arcs().peekable(), new.arcs().peekable());
    while let (Some(&from), Some(&to)) = (old_arcs.peek(), new_arcs.peek()) {
        let last = from.last.min(to.last);
        add(from.owner, to.owner, share_of(from.first.max(to.first), last));
        old_arcs.next_if(|arc| arc.last == last);
        new_arcs.next_if(|arc| arc.last == last);
    }
}

/// A position is i mod n and j mod m at once only if i and j are equal mod gcd(n, m), and all such pairs are equally common.
fn hash_to_hash(n: usize, m: usize, mut add: impl FnMut(usize, usize, f64)) {
    let divisor = gcd(n, m);
    let share = divisor as f64 / (n as f64 * m as f64);
    for from in 0..n {
        for to in (from % divisor..m).step_by(divisor) {
            add(from, to, share);
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Every arc holds the remainders mod n evenly: arcs are longer than n by dozens of orders of magnitude.
fn across(n: usize, ring: &Ring, mut add: impl FnMut(usize, usize, f64)) {
    for arc in ring.arcs() {
        for index in 0..n {
            add(index, arc.owner, arc.share() / n as f64);
        }
    }
}

fn range_to_range(n: usize, m: usize, mut add: impl FnMut(usize, usize, f64)) {
    let (mut old, mut new) =
        (range::numeric_bounds(n).enumerate().peekable(), range::numeric_bounds(m).enumerate().peekable());
    while let (Some((from, a)), Some((to, b))) = (old.peek().cloned(), new.peek().cloned()) {
        let end = a.end.min(b.end);
        add(from, to, (end - a.start.max(b.start).min(end)) as f64 / range::KEYS as f64);
        old.next_if(|(_, range)| range.end == end);
        new.next_if(|(_, range)| range.end == end);
    }
}

fn same_ranges(old: &Partitioner, new: &Partitioner) -> Result<(), PlanError> {
    if old.nodes == new.nodes { Ok(()) } else { Err(PlanError::DependsOnKeys) }
}
