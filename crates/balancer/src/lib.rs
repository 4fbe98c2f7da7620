#![doc = include_str!("../README.md")]
//!
//! # Design
//! Picks do not lock. They use an immutable snapshot of the nodes that may be picked, which is replaced when a node becomes
//! available or unavailable. Measurements are atomics of the node, which outlives every snapshot.
#![warn(missing_docs)]

mod affinity;
mod algorithm;
mod candidate;
mod geography;
mod latency;
mod lease;
mod measured;
mod moment;
mod node;
mod schedule;
mod select;
mod snapshot;
mod sync;

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use lease::{Lease, Outcome};
use node::Shared;
pub use node::{Node, NodeSpec, NodeStats};
use select::median;
use snapshot::Snapshot;
use sync::{ArcSwap, Mutex, MutexGuard};

/// Settings of a balancer that do not depend on the algorithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Time that a new or recovered node takes to reach its full share; it starts with a tenth. Zero disables slow start.
    pub slow_start: Duration,
    /// The minimum latency that a failed or refused request counts as.
    pub error_penalty: Duration,
    /// The number of failures in a row that ejects a node. Zero disables ejection.
    pub eject_after: u32,
    /// Duration of the first ejection. It doubles with each further ejection that follows within [`Self::max_ejection`].
    pub base_ejection: Duration,
    /// Upper bound of the duration of an ejection.
    pub max_ejection: Duration,
    /// The share of healthy nodes, 0 to 1, below which all nodes are used. 0 disables it.
    pub panic_threshold: f64,
    /// Time in which a latency that is not confirmed loses half its weight.
    pub half_life: Duration,
    /// The multiple of its share that a node may have in flight before `hash` goes on to the next node. 0 for no bound.
    pub load_bound: f64,
    /// The utilization of a zone or region, 0 to 1, above which its callers are sent elsewhere.
    pub spill_threshold: f64,
    /// Whether [`NodeSpec::max_connections`] is enforced.
    pub enforce_limits: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            slow_start: Duration::from_secs(30),
            error_penalty: Duration::from_secs(1),
            eject_after: 5,
            base_ejection: Duration::from_secs(5),
            max_ejection: Duration::from_secs(300),
            panic_threshold: 0.5,
            half_life: Duration::from_secs(10),
            load_bound: 1.25,
            spill_threshold: 0.7,
            enforce_limits: true,
        }
    }
}

impl Policy {
    /// Returns the plain algorithms as in the reference design: no slow start, ejection, panic mode, bounds or limits.
    pub fn bare() -> Self {
        Self {
            slow_start: Duration::ZERO,
            error_penalty: Duration::ZERO,
            eject_after: 0,
            panic_threshold: 0.0,
            load_bound: 0.0,
            spill_threshold: 1.0,
            enforce_limits: false,
            ..Self::default()
        }
    }
}

/// The request that a node is picked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller<'a> {
    /// The key for `hash`.
    pub key: &'a str,
    /// The region of the caller; empty if unknown.
    pub region: &'a str,
    /// The zone of the caller in its region; empty if unknown.
    pub zone: &'a str,
    /// The id of a node that has just failed this request. Another one is picked if there is one.
    pub failed: Option<&'a str>,
}

/// No node was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// There are no nodes, or all of them are draining.
    #[error("no node takes requests")]
    NoNodes,
    /// Every node has as many requests in flight as its limit allows.
    #[error("all nodes are at their limit")]
    AllAtLimit,
}

/// Balances requests over a set of nodes that may change at any time.
#[derive(Debug)]
pub struct Balancer {
    shared: Arc<Shared>,
    members: Mutex<Members>,
    snapshot: ArcSwap<Snapshot>,
}

/// The input of snapshots.
#[derive(Debug)]
struct Members {
    algorithm: Algorithm,
    nodes: Vec<Arc<Node>>,
}

impl Balancer {
    /// Makes a balancer without nodes; `now` is its epoch.
    pub fn new(algorithm: Algorithm, policy: Policy, now: Instant) -> Self {
        let shared = Shared::new(policy, now);
        let members = Members { algorithm, nodes: Vec::new() };
        let snapshot =
            ArcSwap::from_pointee(Snapshot::new(&shared, algorithm, &members.nodes, shared.moment(now), None));
        Self { shared, members: Mutex::new(members), snapshot }
    }

    /// Returns the current algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.snapshot.load().algorithm()
    }

    /// Changes the algorithm. Measurements are kept.
    pub fn set_algorithm(&self, algorithm: Algorithm, now: Instant) {
        self.change(now, |members| members.algorithm = algorithm);
    }

    /// Replaces the nodes. A node whose id was there before keeps its measurements and requests.
    pub fn set_nodes(&self, specs: impl IntoIterator<Item = NodeSpec>, now: Instant) {
        let (shared, moment) = (&self.shared, self.shared.moment(now));
        self.change(now, |members| {
            let mut old: std::collections::HashMap<String, Arc<Node>> =
                members.nodes.drain(..).map(|node| (node.spec().id.clone(), node)).collect();
            // The first nodes of a balancer have no slow start.
            let first = old.is_empty();
            let peaks = old.values().map(|node| f64::from(node.measured().peak(moment, &shared.rates)));
            let typical = median(peaks.filter(|peak| *peak > 0.0).collect());
            for spec in specs {
                let node = match old.remove(&spec.id) {
                    Some(node) => node.with_spec(spec),
                    None if first => Node::in_balancer(Arc::clone(shared), spec, None),
                    None => {
                        let node = Node::in_balancer(Arc::clone(shared), spec, Some(moment));
                        node.measured().assume_latency(typical as f32, moment, &shared.rates);
                        node
                    }
                };
                members.nodes.push(node);
            }
        });
    }

    /// Returns all nodes, available or not.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.members().nodes.clone()
    }

    /// Records the result of a health check. A node that recovers has a slow start.
    pub fn set_healthy(&self, id: &str, healthy: bool, now: Instant) {
        let moment = self.shared.moment(now);
        self.update_node(id, now, |node| node.measured().set_healthy(healthy, moment));
    }

    /// Sets whether a node is draining: it keeps its requests and gets no new ones.
    pub fn set_draining(&self, id: &str, draining: bool, now: Instant) {
        self.update_node(id, now, |node| node.measured().set_draining(draining));
    }

    fn update_node(&self, id: &str, now: Instant, update: impl FnOnce(&Node) -> bool) {
        let mut members = self.members();
        let changed = members.nodes.iter().find(|node| node.spec().id == id).is_some_and(|node| update(node));
        if changed {
            self.replace_snapshot(&mut members, now);
        }
    }

    /// Picks a node, and counts the request as in flight on it.
    ///
    /// # Errors
    /// [`PickError`] if no node is available, or all of them are at their limit.
    pub fn pick(&self, caller: &Caller<'_>, now: Instant) -> Result<Lease, PickError> {
        let moment = self.shared.moment(now);
        let mut snapshot = self.snapshot.load();
        if snapshot.is_outdated(&self.shared, moment) {
            drop(snapshot);
            self.replace_if_outdated(now);
            snapshot = self.snapshot.load();
        }
        let index = snapshot.pick(caller, &self.shared, moment).ok_or(PickError::NoNodes)?;
        let candidates = snapshot.candidates();
        if let Some(lease) = candidates[index].node.try_lease(now) {
            return Ok(lease);
        }
        // Any node below its limit, from a random start, so that the overflow of one node does not all go to the next.
        let (start, count) = (fastrand::usize(..candidates.len()), candidates.len());
        let mut others = (0..count).map(|offset| &candidates[(start + offset) % count].node);
        others.find_map(|node| node.try_lease(now)).ok_or(PickError::AllAtLimit)
    }

    /// Changes the members and replaces the snapshot.
    fn change(&self, now: Instant, change: impl FnOnce(&mut Members)) {
        let mut members = self.members();
        change(&mut members);
        self.replace_snapshot(&mut members, now);
    }

    /// Replaces the snapshot once for all threads that find it outdated at the same time.
    fn replace_if_outdated(&self, now: Instant) {
        let mut members = self.members();
        if self.snapshot.load().is_outdated(&self.shared, self.shared.moment(now)) {
            self.replace_snapshot(&mut members, now);
        }
    }

    /// Replaces the snapshot. `members` is mutable to prove that the caller holds their lock.
    fn replace_snapshot(&self, members: &mut Members, now: Instant) {
        let before = self.snapshot.load_full();
        let snapshot =
            Snapshot::new(&self.shared, members.algorithm, &members.nodes, self.shared.moment(now), Some(&before));
        self.snapshot.store(Arc::new(snapshot));
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // No holder of the lock panics.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, feature = "loom"))]
mod models;
#[cfg(test)]
mod tests;
