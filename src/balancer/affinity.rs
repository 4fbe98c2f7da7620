//! Consistent hashing with bounded loads: a key's requests go to the same node while that has no more than its share of
//! them, and a bit.

use std::sync::Arc;

use super::{Node, Policy, snapshot::Candidate};
use crate::partitioner::{Ring, position};

/// The ring of all nodes; those that may not be picked are passed over, which is as if they were not on it.
#[derive(Debug)]
pub(super) struct Affinity {
    ring: Arc<MemberRing>,
    /// Where the members are among the nodes that may be picked.
    places: Box<[Option<u32>]>,
    total_weight: f64,
}

/// A ring, and what it was made from.
#[derive(Debug)]
struct MemberRing {
    ring: Ring,
    weights: Vec<(String, u32)>,
}

impl Affinity {
    /// `members` are all nodes, `candidates` those of them that may be picked, in the same order. The ring is that of `before`
    /// if the members are the same: it takes the longest to make.
    pub(super) fn new(members: &[Arc<Node>], candidates: &[Candidate], before: Option<&Self>) -> Self {
        let weights: Vec<_> = members.iter().map(|node| (node.spec().id.clone(), node.weight())).collect();
        let ring = match before {
            Some(before) if before.ring.weights == weights => Arc::clone(&before.ring),
            _ => {
                let ring = Ring::new(weights.iter().map(|(id, weight)| (id.as_str(), *weight)));
                Arc::new(MemberRing { ring, weights })
            }
        };
        let mut next = 0;
        let place = |member: &Arc<Node>| {
            let is_next = candidates.get(next).is_some_and(|candidate| Arc::ptr_eq(&candidate.node, member));
            next += usize::from(is_next);
            is_next.then(|| next as u32 - 1)
        };
        let places = members.iter().map(place).collect();
        Self { ring, places, total_weight: candidates.iter().map(|candidate| f64::from(candidate.weight)).sum() }
    }

    /// The place of the first node at or after the key that has room within its bound. Where none has, as when limits are
    /// reached, that of the first.
    pub(super) fn node(&self, key: &str, candidates: &[Candidate], policy: &Policy) -> usize {
        let is_bounded = policy.load_bound > 0.0;
        let in_flight: u64 = if is_bounded { candidates.iter().map(Candidate::in_flight).sum() } else { 0 };
        let fits = |candidate: &Candidate| {
            let most = policy.load_bound * f64::from(candidate.weight) / self.total_weight * (in_flight + 1) as f64;
            !is_bounded || ((candidate.in_flight() + 1) as f64 <= most.ceil() && candidate.has_room())
        };
        let mut full: Vec<usize> = Vec::new();
        for member in self.ring.ring.owners_from(position(key)) {
            let Some(place) = self.places[member].map(|place| place as usize) else { continue };
            if full.contains(&place) {
                continue;
            }
            if fits(&candidates[place]) {
                return place;
            }
            full.push(place);
            if full.len() == candidates.len() {
                break;
            }
        }
        full.first().copied().unwrap_or(0)
    }
}
