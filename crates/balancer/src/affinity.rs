//! Consistent hashing with bounded loads: the requests of a key go to the same node as long as that node has no more than
//! its share of the requests in flight, times [`Policy::load_bound`].

use std::sync::Arc;

use super::{Node, Policy, candidate::Candidate};
use symbolon_partitioner::{Ring, position};

/// The ring of all members. Members that may not be picked are skipped, which is the same as a ring without them.
#[derive(Debug)]
pub(super) struct Affinity {
    ring: Arc<MemberRing>,
    /// The index among the candidates of each member; none for members that may not be picked.
    candidate_indexes: Box<[Option<u32>]>,
    total_weight: f64,
}

/// A ring, and the weights that it was built from.
#[derive(Debug)]
struct MemberRing {
    ring: Ring,
    weights: Vec<(String, u32)>,
}

impl Affinity {
    /// Builds the ring. `members` are all nodes; `candidates` are the members that may be picked, in the same order. The ring of
    /// `before` is reused if ids and weights are the same, as building it is the expensive part.
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
        let candidate_index = |member: &Arc<Node>| {
            let is_next = candidates.get(next).is_some_and(|candidate| Arc::ptr_eq(&candidate.node, member));
            next += usize::from(is_next);
            is_next.then(|| next as u32 - 1)
        };
        let candidate_indexes = members.iter().map(candidate_index).collect();
        Self {
            ring,
            candidate_indexes,
            total_weight: candidates.iter().map(|candidate| f64::from(candidate.weight)).sum(),
        }
    }

    /// Returns the index of the first candidate at or after the key that is within its bound and its limit; if none is, that of
    /// the first candidate.
    pub(super) fn node(&self, key: &str, candidates: &[Candidate], policy: &Policy) -> usize {
        let is_bounded = policy.load_bound > 0.0;
        let in_flight: u64 = if is_bounded { candidates.iter().map(Candidate::in_flight).sum() } else { 0 };
        let fits = |candidate: &Candidate| {
            let bound = policy.load_bound * f64::from(candidate.weight) / self.total_weight * (in_flight + 1) as f64;
            !is_bounded || ((candidate.in_flight() + 1) as f64 <= bound.ceil() && candidate.has_room())
        };
        let mut full: Vec<usize> = Vec::new();
        for member in self.ring.ring.owners_from(position(key)) {
            let Some(index) = self.candidate_indexes[member].map(|index| index as usize) else { continue };
            if full.contains(&index) {
                continue;
            }
            if fits(&candidates[index]) {
                return index;
            }
            full.push(index);
            if full.len() == candidates.len() {
                break;
            }
        }
        full.first().copied().unwrap_or(0)
    }
}
