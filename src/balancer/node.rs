//! One node: what is known of it, and what is measured.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Lease, Outcome, Policy,
    measured::{Measured, Rates},
    moment::{Moment, nanos},
    sync::{AtomicU64, Ordering},
};
use crate::partitioner::MAX_WEIGHT;

/// What is known of a node before any request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its id, unique among the nodes.
    pub id: String,
    /// Where it is reached.
    pub url: String,
    /// Its share of the traffic relative to others.
    pub weight: u32,
    /// The most requests that it takes at a time.
    pub max_connections: u32,
    /// The region it is in.
    pub region: String,
    /// The zone it is in.
    pub zone: String,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    spec: NodeSpec,
    shared: Arc<Shared>,
    measured: Arc<Measured>,
}

/// What the nodes of a balancer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) rates: Rates,
    /// When its time began.
    epoch: Instant,
    /// How often it has changed whether some node may be picked.
    changes: AtomicU64,
}

impl Shared {
    pub(super) fn new(policy: Policy, epoch: Instant) -> Arc<Self> {
        Arc::new(Self { rates: Rates::of(&policy), policy, epoch, changes: AtomicU64::new(0) })
    }

    pub(super) fn moment(&self, now: Instant) -> Moment {
        Moment::new(now, self.epoch)
    }

    /// How often it has changed whether some node may be picked. What led to that is visible to who reads this.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

/// What was measured of a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeStats {
    /// Requests under way.
    pub in_flight: u64,
    /// Requests that have ended.
    pub requests: u64,
    /// Of these, the ones that failed on the node's side or were broken off.
    pub errors: u64,
    /// The mean of the last ten times from a request's arrival to the end of its response.
    pub average_response_time: Duration,
    /// Whether health checks find it well; true until the first.
    pub healthy: bool,
    /// When the last health check ended.
    pub checked_at: Option<Instant>,
    /// Until when it is ejected for failing, if it is or was.
    pub ejected_until: Option<Instant>,
    /// Whether it is about to leave.
    pub draining: bool,
    /// How often it was ejected in a row.
    pub ejections: u32,
}

impl Node {
    /// A node without requests, by itself.
    pub fn new(spec: NodeSpec) -> Arc<Self> {
        let policy = Policy { slow_start: Duration::ZERO, eject_after: 0, ..Policy::default() };
        Self::of(Shared::new(policy, Instant::now()), spec, None)
    }

    /// A node of a balancer; a newcomer's slow start begins at `started_at`.
    pub(super) fn of(shared: Arc<Shared>, spec: NodeSpec, started_at: Option<Moment>) -> Arc<Self> {
        Arc::new(Self { spec, shared, measured: Arc::new(Measured::new(started_at)) })
    }

    /// The same node with another spec.
    pub(super) fn with_spec(&self, spec: NodeSpec) -> Arc<Self> {
        Arc::new(Self { spec, shared: Arc::clone(&self.shared), measured: Arc::clone(&self.measured) })
    }

    /// What is known of it.
    pub fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// Its weight; one that another process wrote may be out of bounds.
    pub(super) fn weight(&self) -> u32 {
        self.spec.weight.clamp(1, MAX_WEIGHT)
    }

    /// The most requests that it takes at a time.
    pub(super) fn limit(&self) -> u64 {
        if self.shared.policy.limits { u64::from(self.spec.max_connections) } else { u64::MAX }
    }

    pub(super) fn measured(&self) -> &Arc<Measured> {
        &self.measured
    }

    /// Begins a request that arrived at `now`, whatever the limit.
    pub fn lease(self: &Arc<Self>, now: Instant) -> Lease {
        self.measured.begin();
        Lease::new(Arc::clone(self), now)
    }

    /// Begins a request if the node has a place.
    pub(super) fn try_lease(self: &Arc<Self>, now: Instant) -> Option<Lease> {
        self.measured.try_begin(self.limit()).then(|| Lease::new(Arc::clone(self), now))
    }

    /// Ends a request.
    pub(super) fn end(&self, took: Duration, outcome: Outcome, now: Instant) {
        let (shared, now) = (&self.shared, self.shared.moment(now));
        self.measured.end(nanos(took) as f32, outcome, now, &shared.rates);
        if outcome == Outcome::Failure && self.measured.count_failure(now, &shared.policy) {
            shared.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// What was measured so far.
    pub fn stats(&self) -> NodeStats {
        let measured = &self.measured;
        let (requests, errors) = measured.ended();
        let instant = |nanos| self.shared.epoch + Duration::from_nanos(nanos);
        NodeStats {
            in_flight: measured.in_flight(),
            requests,
            errors,
            average_response_time: Duration::from_nanos(measured.mean().unwrap_or(0.0) as u64),
            healthy: measured.is_healthy(),
            checked_at: measured.checked_at().map(instant),
            ejected_until: Some(measured.ejected_until()).filter(|until| *until > 0).map(instant),
            draining: measured.is_draining(),
            ejections: measured.ejections(),
        }
    }
}
