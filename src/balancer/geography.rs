//! Near nodes first: those of the caller's zone, then of its region, then all; as far as the nearer ones can take it.

use std::{collections::HashMap, sync::Arc};

use super::{Caller, Node, NodeSpec, Policy, snapshot::Candidate};

/// How much more than their share the nodes left in a zone are trusted to take when others of it are down (Envoy's
/// overprovisioning factor).
const OVERPROVISIONED: f64 = 1.4;

/// Candidates by where they are.
#[derive(Debug, Default)]
pub(super) struct Geography {
    regions: HashMap<String, Region>,
    all: Vec<usize>,
}

#[derive(Debug, Default)]
struct Region {
    whole: Place,
    zones: HashMap<String, Place>,
}

/// The candidates of a zone or region, by their index, and how many nodes there are in all.
#[derive(Debug, Default)]
struct Place {
    candidates: Vec<usize>,
    of: usize,
}

impl Geography {
    /// `members` are all nodes, `candidates` those of them that may be picked.
    pub(super) fn new(members: &[Arc<Node>], candidates: &[Candidate]) -> Self {
        let mut geography = Self { all: (0..candidates.len()).collect(), ..Self::default() };
        for member in members {
            geography.places(member.spec()).into_iter().for_each(|place| place.of += 1);
        }
        for (index, candidate) in candidates.iter().enumerate() {
            geography.places(candidate.node.spec()).into_iter().for_each(|place| place.candidates.push(index));
        }
        geography
    }

    /// The places that a node is in.
    fn places(&mut self, spec: &NodeSpec) -> [&mut Place; 2] {
        let region = self.regions.entry(spec.region.clone()).or_default();
        [&mut region.whole, region.zones.entry(spec.zone.clone()).or_default()]
    }

    /// The nearest candidates that can take one more of the caller's requests.
    pub(super) fn near(&self, caller: &Caller<'_>, candidates: &[Candidate], policy: &Policy) -> &[usize] {
        let Some(region) = self.regions.get(caller.region) else { return &self.all };
        let places = [region.zones.get(caller.zone), Some(&region.whole)];
        let near = places.into_iter().flatten().find(|place| place.can_take(candidates, policy));
        near.map_or(&self.all, |place| &place.candidates)
    }
}

impl Place {
    fn can_take(&self, candidates: &[Candidate], policy: &Policy) -> bool {
        if self.candidates.is_empty() {
            return false;
        }
        if !policy.limits {
            return true;
        }
        let trusted = OVERPROVISIONED * self.candidates.len() as f64 / self.of as f64;
        let (busy, most) = self.candidates.iter().fold((0, 0), |(busy, most), &index| {
            (busy + candidates[index].in_flight(), most + candidates[index].node.limit())
        });
        (busy as f64) < policy.spill_at * most as f64 && (trusted >= 1.0 || fastrand::f64() < trusted)
    }
}
