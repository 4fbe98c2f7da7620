//! The load balancer: which node gets a request, and what is measured of it. No I/O: time comes in, a [`Lease`] goes out.
//!
//! Picks don't lock: they work on a snapshot of the nodes that may be picked, which is replaced whole when that changes
//! (`snapshot`). What is measured is kept in atomics of the node itself, found again by its id, so it outlives every
//! snapshot. A lease stands for one request on a node. It counts as in flight from its making to its drop, so a request
//! that is cancelled, or whose client goes away in the middle of the body, is counted and ended like any other.
//!
//! What is known to bring fleets down, and what is done about it here:
//!
//! | danger | what is done |
//! |---|---|
//! | a node that fails fast looks quick and attracts traffic | a failure or a refusal counts as [`Policy::error_penalty`] at least |
//! | a node that fails goes on getting its share | it is ejected after failures in a row, for longer each time |
//! | a new node, unmeasured, gets everything | it counts as the median of the others, and starts slowly |
//! | equal nodes are all seen as the best one by everybody | ties are broken at random |
//! | an average remembers a bad minute for ever | it decays with time, used or not |
//! | the callers of a zone overload the few nodes left in it | what they can't take spills over to the region, then to all |
//! | with most nodes down the rest would follow | then all are used, checks and ejections or not (panic) |
//! | a limit that is checked and then counted is passed by two | the count and the check are one step |

mod affinity;
mod algorithm;
mod geography;
mod latency;
mod lease;
mod measured;
mod moment;
mod node;
mod schedule;
mod select;
pub mod simulation;
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

/// How nodes are judged, whatever the algorithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// How long a new node, or one that is back, takes to get its full share; it begins with a tenth. Zero: at once.
    pub slow_start: Duration,
    /// What a failed request counts as at least, in time.
    pub error_penalty: Duration,
    /// After how many failures in a row a node is ejected. Zero: never.
    pub eject_after: u32,
    /// For how long the first time; twice as long each time that follows closely, up to [`Self::longest_ejection`].
    pub ejection: Duration,
    /// For how long at most.
    pub longest_ejection: Duration,
    /// Below which part of healthy nodes all are used, from 0 (never) to 1.
    pub panic_below: f64,
    /// In how much time a latency that is not confirmed loses half its weight.
    pub half_life: Duration,
    /// How much more than its share a node may have in flight before `hash` goes on to the next one; 0 for no bound.
    pub load_bound: f64,
    /// How full the nodes of a zone or region may be before callers from there are sent elsewhere, from 0 to 1.
    pub spill_at: f64,
    /// Whether a node's `max_connections` holds.
    pub limits: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            slow_start: Duration::from_secs(30),
            error_penalty: Duration::from_secs(1),
            eject_after: 5,
            ejection: Duration::from_secs(5),
            longest_ejection: Duration::from_secs(300),
            panic_below: 0.5,
            half_life: Duration::from_secs(10),
            load_bound: 1.25,
            spill_at: 0.7,
            limits: true,
        }
    }
}

impl Policy {
    /// The seed's picks and nothing else.
    pub fn bare() -> Self {
        Self {
            slow_start: Duration::ZERO,
            error_penalty: Duration::ZERO,
            eject_after: 0,
            panic_below: 0.0,
            load_bound: 0.0,
            spill_at: 1.0,
            limits: false,
            ..Self::default()
        }
    }
}

/// What a pick may go by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller<'a> {
    /// What `hash` keeps together.
    pub key: &'a str,
    /// Where the caller is; unknown if empty.
    pub region: &'a str,
    /// Where in its region the caller is.
    pub zone: &'a str,
    /// A node that has just failed this request.
    pub not: Option<&'a str>,
}

/// Why no node was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// There is none, or all are draining.
    #[error("no node takes requests")]
    NoNodes,
    /// Each has as many requests as it takes.
    #[error("all nodes are at their limit")]
    AllAtLimit,
}

/// Balances over a set of nodes that may change at any time.
#[derive(Debug)]
pub struct Balancer {
    shared: Arc<Shared>,
    members: Mutex<Members>,
    snapshot: ArcSwap<Snapshot>,
}

/// What the snapshots are made from.
#[derive(Debug)]
struct Members {
    algorithm: Algorithm,
    nodes: Vec<Arc<Node>>,
}

impl Balancer {
    /// A balancer without nodes; `now` is when its time begins.
    pub fn new(algorithm: Algorithm, policy: Policy, now: Instant) -> Self {
        let shared = Shared::new(policy, now);
        let members = Members { algorithm, nodes: Vec::new() };
        let snapshot =
            ArcSwap::from_pointee(Snapshot::new(&shared, algorithm, &members.nodes, shared.moment(now), None));
        Self { shared, members: Mutex::new(members), snapshot }
    }

    /// The algorithm in force.
    pub fn algorithm(&self) -> Algorithm {
        self.snapshot.load().algorithm()
    }

    /// Changes the algorithm; what was measured stays.
    pub fn set_algorithm(&self, algorithm: Algorithm, now: Instant) {
        self.change(now, |members| members.algorithm = algorithm);
    }

    /// Makes these the nodes. A node of an id that was there keeps what was measured of it.
    pub fn set_nodes(&self, specs: impl IntoIterator<Item = NodeSpec>, now: Instant) {
        let (shared, moment) = (&self.shared, self.shared.moment(now));
        self.change(now, |members| {
            let mut old: std::collections::HashMap<String, Arc<Node>> =
                members.nodes.drain(..).map(|node| (node.spec().id.clone(), node)).collect();
            // Nodes that a balancer starts with are no newcomers.
            let first = old.is_empty();
            let peaks = old.values().map(|node| f64::from(node.measured().peak(moment, &shared.rates)));
            let usual = median(peaks.filter(|peak| *peak > 0.0).collect());
            for spec in specs {
                let node = match old.remove(&spec.id) {
                    Some(node) => node.with_spec(spec),
                    None if first => Node::of(Arc::clone(shared), spec, None),
                    None => {
                        let node = Node::of(Arc::clone(shared), spec, Some(moment));
                        node.measured().presume(usual as f32, moment, &shared.rates);
                        node
                    }
                };
                members.nodes.push(node);
            }
        });
    }

    /// The nodes, whether they may be picked or not.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.members().nodes.clone()
    }

    /// Notes what a health check found. A node that is back starts slowly.
    pub fn set_healthy(&self, id: &str, healthy: bool, now: Instant) {
        let moment = self.shared.moment(now);
        self.note(id, now, |node| node.measured().set_healthy(healthy, moment));
    }

    /// Notes whether a node is about to leave: it keeps what it has and gets nothing new.
    pub fn set_draining(&self, id: &str, draining: bool, now: Instant) {
        self.note(id, now, |node| node.measured().set_draining(draining));
    }

    fn note(&self, id: &str, now: Instant, note: impl FnOnce(&Node) -> bool) {
        let mut members = self.members();
        let is_news = members.nodes.iter().find(|node| node.spec().id == id).is_some_and(|node| note(node));
        if is_news {
            self.renew(&mut members, now);
        }
    }

    /// Picks a node and takes a place on it.
    ///
    /// # Errors
    /// [`PickError`] if no node takes requests, or each has all it takes.
    pub fn pick(&self, caller: &Caller<'_>, now: Instant) -> Result<Lease, PickError> {
        let moment = self.shared.moment(now);
        let mut snapshot = self.snapshot.load();
        if snapshot.is_outdated(&self.shared, moment) {
            drop(snapshot);
            self.renew_if_outdated(now);
            snapshot = self.snapshot.load();
        }
        let index = snapshot.pick(caller, &self.shared, moment).ok_or(PickError::NoNodes)?;
        let candidates = snapshot.candidates();
        if let Some(lease) = candidates[index].node.try_lease(now) {
            return Ok(lease);
        }
        // Whoever has room, beginning anywhere, so that the overflow of one node does not all go to the next.
        let (start, count) = (fastrand::usize(..candidates.len()), candidates.len());
        let mut others = (0..count).map(|offset| &candidates[(start + offset) % count].node);
        others.find_map(|node| node.try_lease(now)).ok_or(PickError::AllAtLimit)
    }

    /// Changes the members and replaces the snapshot.
    fn change(&self, now: Instant, change: impl FnOnce(&mut Members)) {
        let mut members = self.members();
        change(&mut members);
        self.renew(&mut members, now);
    }

    /// Of all that find the snapshot outdated at the same time, the first replaces it.
    fn renew_if_outdated(&self, now: Instant) {
        let mut members = self.members();
        if self.snapshot.load().is_outdated(&self.shared, self.shared.moment(now)) {
            self.renew(&mut members, now);
        }
    }

    /// Replaces the snapshot. Takes the members as changeable for the lock on them: only its holder may.
    fn renew(&self, members: &mut Members, now: Instant) {
        let before = self.snapshot.load_full();
        let snapshot =
            Snapshot::new(&self.shared, members.algorithm, &members.nodes, self.shared.moment(now), Some(&before));
        self.snapshot.store(Arc::new(snapshot));
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // Nothing panics while it holds the lock.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, feature = "loom"))]
mod models;
#[cfg(test)]
mod tests;
