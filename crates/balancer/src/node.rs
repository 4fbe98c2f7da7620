//! A node: its specification, its measurements, and leases on it.

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
use symbolon_partitioner::MAX_WEIGHT;

/// The specification of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// The id, unique among the nodes of a balancer.
    pub id: String,
    /// The address, for the caller's use; the balancer does not read it.
    pub url: String,
    /// The share of traffic relative to other nodes, 1 to 1000; other values are clamped.
    pub weight: u32,
    /// The maximum number of requests in flight.
    pub max_connections: u32,
    /// The region.
    pub region: String,
    /// The zone in the region.
    pub zone: String,
}

impl NodeSpec {
    /// Makes a node of weight 1 and at most 1000 requests in flight, in no region or zone.
    pub fn new(id: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            url: url.into(),
            weight: 1,
            max_connections: 1000,
            region: String::new(),
            zone: String::new(),
        }
    }
}

/// A node with its measurements.
#[derive(Debug)]
pub struct Node {
    spec: NodeSpec,
    shared: Arc<Shared>,
    measured: Arc<Measured>,
}

/// State that all nodes of a balancer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) rates: Rates,
    /// The start of the balancer's time.
    epoch: Instant,
    /// The number of times that the availability of a node has changed.
    changes: AtomicU64,
}

impl Shared {
    pub(super) fn new(policy: Policy, epoch: Instant) -> Arc<Self> {
        Arc::new(Self { rates: Rates::new(&policy), policy, epoch, changes: AtomicU64::new(0) })
    }

    pub(super) fn moment(&self, now: Instant) -> Moment {
        Moment::new(now, self.epoch)
    }

    /// Returns the number of availability changes. The changes themselves are visible to the reader (acquire).
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

/// Measurements of a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeStats {
    /// The number of requests in flight.
    pub in_flight: u64,
    /// The number of requests that have ended.
    pub requests: u64,
    /// The number of ended requests that failed or were cancelled.
    pub errors: u64,
    /// The mean of the last ten times from a request's arrival to the end of its response; zero without any.
    pub average_response_time: Duration,
    /// Whether the last health check succeeded; true before the first.
    pub healthy: bool,
    /// Time of the last health check.
    pub checked_at: Option<Instant>,
    /// The end of the last ejection, which may be past.
    pub ejected_until: Option<Instant>,
    /// Whether the node is draining.
    pub draining: bool,
    /// The number of ejections in a row.
    pub ejections: u32,
}

impl Node {
    /// Makes a node that belongs to no balancer: without slow start and ejection.
    pub fn new(spec: NodeSpec) -> Arc<Self> {
        let policy = Policy { slow_start: Duration::ZERO, eject_after: 0, ..Policy::default() };
        Self::in_balancer(Shared::new(policy, Instant::now()), spec, None)
    }

    /// Makes a node of a balancer; its slow start begins at `started_at`, if it has one.
    pub(super) fn in_balancer(shared: Arc<Shared>, spec: NodeSpec, started_at: Option<Moment>) -> Arc<Self> {
        Arc::new(Self { spec, shared, measured: Arc::new(Measured::new(started_at)) })
    }

    /// Returns the same node with another specification.
    pub(super) fn with_spec(&self, spec: NodeSpec) -> Arc<Self> {
        Arc::new(Self { spec, shared: Arc::clone(&self.shared), measured: Arc::clone(&self.measured) })
    }

    /// Returns the specification.
    pub fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// Returns the weight, clamped to its range.
    pub(super) fn weight(&self) -> u32 {
        self.spec.weight.clamp(1, MAX_WEIGHT)
    }

    /// Returns the maximum number of requests in flight.
    pub(super) fn limit(&self) -> u64 {
        if self.shared.policy.enforce_limits { u64::from(self.spec.max_connections) } else { u64::MAX }
    }

    pub(super) fn measured(&self) -> &Arc<Measured> {
        &self.measured
    }

    /// Starts a request that arrived at `now`, regardless of the limit.
    pub fn lease(self: &Arc<Self>, now: Instant) -> Lease {
        self.measured.acquire();
        Lease::new(Arc::clone(self), now)
    }

    /// Starts a request if the node is below its limit.
    pub(super) fn try_lease(self: &Arc<Self>, now: Instant) -> Option<Lease> {
        self.measured.try_acquire(self.limit()).then(|| Lease::new(Arc::clone(self), now))
    }

    /// Records the end of a request.
    pub(super) fn end(&self, took: Duration, outcome: Outcome, now: Instant) {
        let (shared, now) = (&self.shared, self.shared.moment(now));
        self.measured.end(nanos(took) as f32, outcome, now, &shared.rates);
        if outcome == Outcome::Failure && self.measured.count_failure(now, &shared.policy) {
            shared.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// Returns the measurements.
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
