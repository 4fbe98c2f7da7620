//! Prefers nodes in the caller's zone, then in its region, then anywhere, as long as the nearer ones have capacity.

use std::{collections::HashMap, sync::Arc};

use super::{Caller, Node, NodeSpec, Policy, candidate::Candidate};

/// The factor by which the candidates of an area may exceed their share when other nodes of it are down (Envoy's
/// overprovisioning factor).
const OVERPROVISIONING_FACTOR: f64 = 1.4;

/// The candidates by region and zone.
#[derive(Debug, Default)]
pub(super) struct Geography {
    regions: HashMap<String, Region>,
    all: Vec<usize>,
}

#[derive(Debug, Default)]
struct Region {
    whole: Area,
    zones: HashMap<String, Area>,
}

/// A zone or a region: the indexes of its candidates, and the number of all its nodes.
#[derive(Debug, Default)]
struct Area {
    candidates: Vec<usize>,
    node_count: usize,
}

impl Geography {
    /// `members` are all nodes; `candidates` are the members that may be picked.
    pub(super) fn new(members: &[Arc<Node>], candidates: &[Candidate]) -> Self {
        let mut geography = Self { all: (0..candidates.len()).collect(), ..Self::default() };
        for member in members {
            geography.areas(member.spec()).into_iter().for_each(|area| area.node_count += 1);
        }
        for (index, candidate) in candidates.iter().enumerate() {
            geography.areas(candidate.node.spec()).into_iter().for_each(|area| area.candidates.push(index));
        }
        geography
    }

    /// Returns the region and the zone of a node.
    fn areas(&mut self, spec: &NodeSpec) -> [&mut Area; 2] {
        let region = self.regions.entry(spec.region.clone()).or_default();
        [&mut region.whole, region.zones.entry(spec.zone.clone()).or_default()]
    }

    /// Returns the candidates of the nearest area that has capacity for one more request.
    pub(super) fn near(&self, caller: &Caller<'_>, candidates: &[Candidate], policy: &Policy) -> &[usize] {
        let Some(region) = self.regions.get(caller.region) else { return &self.all };
        let areas = [region.zones.get(caller.zone), Some(&region.whole)];
        let near = areas.into_iter().flatten().find(|area| area.has_capacity(candidates, policy));
        near.map_or(&self.all, |area| &area.candidates)
    }
}

impl Area {
    fn has_capacity(&self, candidates: &[Candidate], policy: &Policy) -> bool {
        if self.candidates.is_empty() {
            return false;
        }
        if !policy.enforce_limits {
            return true;
        }
        let trusted_share = OVERPROVISIONING_FACTOR * self.candidates.len() as f64 / self.node_count as f64;
        let (in_flight, limit) = self.candidates.iter().fold((0, 0), |(in_flight, limit), &index| {
            (in_flight + candidates[index].in_flight(), limit + candidates[index].node.limit())
        });
        (in_flight as f64) < policy.spill_threshold * limit as f64
            && (trusted_share >= 1.0 || fastrand::f64() < trusted_share)
    }
}
