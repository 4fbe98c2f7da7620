//! Near nodes first: those of the caller's zone, then of its region, then all; as far as the nearer ones can take it.

use std::{collections::HashMap, sync::Arc};

use super::{Caller, Node, Policy};

/// How much more than their share the nodes left in a zone are trusted to take when others of it are down (Envoy's
/// overprovisioning factor).
const OVERPROVISIONED: f64 = 1.4;

/// The nodes of a zone or region that may be picked, by their place, and which part of all there they are.
#[derive(Debug, Default)]
struct Place {
    nodes: Vec<usize>,
    of: usize,
}

/// Nodes by where they are.
#[derive(Debug, Default)]
pub(super) struct Geography {
    regions: HashMap<String, Place>,
    zones: HashMap<(String, String), Place>,
    all: Vec<usize>,
}

impl Geography {
    /// `members` are all nodes, `nodes` those of them that may be picked.
    pub(super) fn new(members: &[Arc<Node>], nodes: &[Arc<Node>]) -> Self {
        let mut geography = Self { all: (0..nodes.len()).collect(), ..Self::default() };
        for member in members {
            geography.region(member).of += 1;
            geography.zone(member).of += 1;
        }
        for (index, node) in nodes.iter().enumerate() {
            geography.region(node).nodes.push(index);
            geography.zone(node).nodes.push(index);
        }
        geography
    }

    fn region(&mut self, node: &Node) -> &mut Place {
        self.regions.entry(node.spec().region.clone()).or_default()
    }

    fn zone(&mut self, node: &Node) -> &mut Place {
        self.zones.entry((node.spec().region.clone(), node.spec().zone.clone())).or_default()
    }

    /// The nearest nodes that can take one more of the caller's requests.
    pub(super) fn near(&self, caller: &Caller<'_>, nodes: &[Arc<Node>], policy: &Policy) -> &[usize] {
        let zone = self.zones.get(&(caller.region.to_owned(), caller.zone.to_owned()));
        let places = [zone, self.regions.get(caller.region)];
        let near = places.into_iter().flatten().find(|place| place.can_take(nodes, policy));
        near.map_or(&self.all, |place| &place.nodes)
    }
}

impl Place {
    fn can_take(&self, nodes: &[Arc<Node>], policy: &Policy) -> bool {
        if self.nodes.is_empty() {
            return false;
        }
        if !policy.limits {
            return true;
        }
        let left = self.nodes.len() as f64 / self.of as f64;
        let (busy, most) = self.nodes.iter().fold((0, 0), |(busy, most), &index| {
            let node = &nodes[index];
            (busy + node.in_flight(), most + u64::from(node.spec().max_connections))
        });
        fastrand::f64() < OVERPROVISIONED * left && (busy as f64) < policy.spill_at * most as f64
    }
}
