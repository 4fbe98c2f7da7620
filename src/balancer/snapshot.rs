//! The nodes that may be picked, and what it takes to pick one of them fast. A snapshot never changes; when whether a node
//! may be picked does, a new one is made.

use std::{sync::Arc, time::Instant};

use super::{
    Algorithm, Caller, Node, Policy,
    affinity::Affinity,
    geography::Geography,
    node::Shared,
    schedule::Schedule,
    select::{better_of_two, cost, health, least, median},
    sync::{AtomicU64, Ordering},
};

/// Up to how many nodes `peak_ewma` compares all of them.
const COMPARED: usize = 16;

/// Nodes at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    algorithm: Algorithm,
    /// Those that may be picked.
    nodes: Box<[Arc<Node>]>,
    /// How often the members had changed when this was made.
    changes: u64,
    /// When the first ejected node is to be picked again.
    next_change: Option<Instant>,
    /// Until when a node is in slow start.
    slow_until: Option<Instant>,
    /// What the mean of an unmeasured node counts as, in seconds.
    unmeasured: f64,
    turn: Arc<AtomicU64>,
    schedule: Option<Schedule>,
    affinity: Option<Affinity>,
    geography: Option<Geography>,
}

impl Snapshot {
    pub(super) fn new(
        shared: &Shared,
        algorithm: Algorithm,
        members: &[Arc<Node>],
        now: Instant,
        before: Option<&Self>,
    ) -> Self {
        // Read first: what changes from here on makes this one outdated.
        let changes = shared.changes.load(Ordering::Acquire);
        let usable: Vec<&Arc<Node>> = members.iter().filter(|node| !node.is_draining()).collect();
        let well: Vec<&Arc<Node>> = usable.iter().copied().filter(|node| node.is_well(now)).collect();
        let panic = (well.len() as f64) < shared.policy.panic_below * usable.len() as f64;
        let nodes: Box<[Arc<Node>]> = if panic { usable } else { well }.into_iter().cloned().collect();
        let affinity = (algorithm == Algorithm::Hash)
            .then(|| Affinity::new(members, &nodes, before.and_then(|before| before.affinity.as_ref())));
        Self {
            next_change: members.iter().filter_map(|node| node.ejected_until(now)).min(),
            slow_until: nodes.iter().filter_map(|node| node.slow_until()).filter(|until| *until > now).max(),
            unmeasured: median(nodes.iter().filter_map(|node| node.mean()).collect()),
            turn: before.map_or_else(Arc::default, |before| Arc::clone(&before.turn)),
            schedule: (algorithm == Algorithm::WeightedRoundRobin)
                .then(|| Schedule::new(&nodes.iter().map(|node| node.weight()).collect::<Vec<_>>())),
            geography: (algorithm == Algorithm::Geographic).then(|| Geography::new(members, &nodes)),
            algorithm,
            nodes,
            changes,
            affinity,
        }
    }

    /// The nodes that may be picked.
    pub(super) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// Whether a node may be picked that could not be, or the other way round.
    pub(super) fn is_outdated(&self, shared: &Shared, now: Instant) -> bool {
        self.next_change.is_some_and(|change| change <= now) || shared.changes.load(Ordering::Acquire) != self.changes
    }

    /// The place of the node to use among those that may be.
    pub(super) fn pick(&self, caller: &Caller<'_>, policy: &Policy, now: Instant) -> Option<usize> {
        let count = self.nodes.len();
        if count <= 1 {
            return (count == 1).then_some(0);
        }
        let mut index = self.choose(caller, policy, now);
        // A node in slow start is passed over as often as it falls short of its share, and one that has just failed always;
        // affinity goes before a slow start.
        let is_slow = self.algorithm != Algorithm::Hash && self.slow_until.is_some_and(|until| until > now);
        if is_slow || caller.not.is_some() {
            for _ in 0..count {
                let node = &self.nodes[index];
                let has_failed = caller.not == Some(node.spec().id.as_str());
                if !has_failed && (!is_slow || fastrand::f64() < node.ramp(now)) {
                    break;
                }
                let other = |choice: usize| if choice < index { choice } else { choice + 1 };
                index = other(better_of_two(count - 1, |choice| self.nodes[other(choice)].in_flight() as f64));
            }
        }
        Some(index)
    }

    fn choose(&self, caller: &Caller<'_>, policy: &Policy, now: Instant) -> usize {
        let nodes = &self.nodes;
        let turn = || self.turn.fetch_add(1, Ordering::Relaxed);
        match (self.algorithm, &self.schedule, &self.geography, &self.affinity) {
            (Algorithm::WeightedRoundRobin, Some(schedule), ..) => schedule.node(turn()),
            (Algorithm::Geographic, _, Some(geography), _) => {
                let near = geography.near(caller, nodes, policy);
                near[better_of_two(near.len(), |choice| relative_load(&nodes[near[choice]]))]
            }
            (Algorithm::Hash, .., Some(affinity)) => affinity.node(caller.key, nodes, policy),
            (Algorithm::LeastConnections, ..) => least(nodes, |node| node.in_flight() as f64),
            (Algorithm::LeastResponseTime, ..) => least(nodes, |node| node.mean().unwrap_or(self.unmeasured)),
            (Algorithm::HealthBased, ..) => least(nodes, |node| health(node, self.unmeasured)),
            (Algorithm::PeakEwma, ..) if nodes.len() <= COMPARED => least(nodes, |node| cost(node, now)),
            (Algorithm::PeakEwma, ..) => better_of_two(nodes.len(), |index| cost(&nodes[index], now)),
            _ => (turn() % nodes.len() as u64) as usize,
        }
    }
}

fn relative_load(node: &Node) -> f64 {
    (node.in_flight() + 1) as f64 / f64::from(node.weight())
}
