//! One node and what is measured of it. All counters are atomic: leases never wait for each other.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Lease, Outcome, Policy,
    latency::{Peak, Recent},
    sync::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

/// The part of its share that a node in slow start gets at first.
const SLOWEST_START: f64 = 0.1;

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
    /// When its time began.
    pub(super) epoch: Instant,
    /// How often it has changed whether some node may be picked.
    pub(super) changes: AtomicU64,
}

impl Shared {
    pub(super) fn new(policy: Policy, epoch: Instant) -> Arc<Self> {
        Arc::new(Self { policy, epoch, changes: AtomicU64::new(0) })
    }
}

/// What outlives a change of the node's spec.
#[derive(Debug)]
struct Measured {
    in_flight: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    recent: Recent,
    peak: Peak,
    failures_in_a_row: AtomicU32,
    /// How often it was ejected, each time soon after the last.
    ejections: AtomicU32,
    /// Nanoseconds since the epoch; 0 if it never was.
    ejected_until: AtomicU64,
    /// When its slow start began, in nanoseconds since the epoch, plus 1; 0 if it has none.
    started_at: AtomicU64,
    unhealthy: AtomicBool,
    draining: AtomicBool,
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
    /// Whether health checks find it well.
    pub healthy: bool,
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
    pub(super) fn of(shared: Arc<Shared>, spec: NodeSpec, started_at: Option<Instant>) -> Arc<Self> {
        let measured = Measured {
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            recent: Recent::new(),
            peak: Peak::new(),
            failures_in_a_row: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            started_at: AtomicU64::new(started_at.map_or(0, |at| nanos(at, shared.epoch) + 1)),
            unhealthy: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        };
        Arc::new(Self { spec, shared, measured: Arc::new(measured) })
    }

    /// The same node with another spec.
    pub(super) fn with_spec(&self, spec: NodeSpec) -> Arc<Self> {
        Arc::new(Self { spec, shared: Arc::clone(&self.shared), measured: Arc::clone(&self.measured) })
    }

    /// What is known of it.
    pub fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// Begins a request that arrived at `now`, whatever the limit.
    pub fn lease(self: &Arc<Self>, now: Instant) -> Lease {
        self.measured.in_flight.fetch_add(1, Ordering::Relaxed);
        Lease::new(Arc::clone(self), now)
    }

    /// Begins a request if the node has a place.
    pub(super) fn try_lease(self: &Arc<Self>, now: Instant) -> Option<Lease> {
        if !self.shared.policy.limits {
            return Some(self.lease(now));
        }
        let most = u64::from(self.spec.max_connections);
        let place = |in_flight| (in_flight < most).then_some(in_flight + 1);
        self.measured.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, place).ok()?;
        Some(Lease::new(Arc::clone(self), now))
    }

    /// What was measured so far.
    pub fn stats(&self) -> NodeStats {
        let measured = &self.measured;
        NodeStats {
            in_flight: self.in_flight(),
            requests: measured.requests.load(Ordering::Relaxed),
            errors: measured.errors.load(Ordering::Relaxed),
            average_response_time: Duration::from_nanos(measured.recent.mean().unwrap_or(0.0) as u64),
            healthy: !measured.unhealthy.load(Ordering::Relaxed),
            draining: measured.draining.load(Ordering::Relaxed),
            ejections: measured.ejections.load(Ordering::Relaxed),
        }
    }

    pub(super) fn end(&self, took: Duration, outcome: Outcome, now: Instant) {
        let measured = &self.measured;
        measured.requests.fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let counted = match outcome {
            Outcome::Failure => took.max(self.shared.policy.error_penalty.as_nanos() as u64),
            Outcome::Success | Outcome::Cancelled => took,
        };
        if outcome != Outcome::Success {
            measured.errors.fetch_add(1, Ordering::Relaxed);
        }
        // A request that was broken off says only that the node would have taken longer.
        if outcome != Outcome::Cancelled {
            measured.recent.record(counted);
        }
        let (millis, half_life) = self.peak_time(now);
        if outcome != Outcome::Cancelled
            || measured.peak.value(millis, half_life).is_some_and(|peak| counted as f32 > peak)
        {
            measured.peak.record(counted as f32, millis, half_life);
        }
        match outcome {
            Outcome::Success if measured.failures_in_a_row.load(Ordering::Relaxed) > 0 => {
                measured.failures_in_a_row.store(0, Ordering::Relaxed);
            }
            Outcome::Failure => self.count_failure(now),
            Outcome::Success | Outcome::Cancelled => {}
        }
        measured.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    fn count_failure(&self, now: Instant) {
        let measured = &self.measured;
        let failures = measured.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        // Those that end later were under way when it was ejected.
        if self.shared.policy.eject_after == 0 || failures < self.shared.policy.eject_after || self.is_ejected(now) {
            return;
        }
        let now = self.nanos(now);
        let last = measured.ejected_until.load(Ordering::Relaxed);
        let soon = self.shared.policy.longest_ejection.as_nanos() as u64;
        let ejections = if last > 0 && now.saturating_sub(last) < soon {
            measured.ejections.fetch_add(1, Ordering::Relaxed)
        } else {
            measured.ejections.store(1, Ordering::Relaxed);
            0
        };
        let time =
            self.shared.policy.ejection.saturating_mul(1 << ejections.min(16)).min(self.shared.policy.longest_ejection);
        let until = now + time.as_nanos() as u64;
        measured.ejected_until.store(until, Ordering::Relaxed);
        measured.started_at.store(until + 1, Ordering::Relaxed);
        measured.failures_in_a_row.store(0, Ordering::Relaxed);
        self.shared.changes.fetch_add(1, Ordering::Release);
    }

    /// Notes what a health check found; false if nothing changed.
    pub(super) fn mark(&self, healthy: bool, draining: bool, now: Instant) -> bool {
        let measured = &self.measured;
        let recovered = measured.unhealthy.swap(!healthy, Ordering::Relaxed) && healthy;
        if recovered {
            measured.started_at.store(self.nanos(now) + 1, Ordering::Relaxed);
        }
        let drained = measured.draining.swap(draining, Ordering::Relaxed) != draining;
        self.shared.changes.fetch_add(1, Ordering::Release);
        recovered || drained || !healthy
    }

    /// Its weight, at least 1.
    pub(super) fn weight(&self) -> u32 {
        self.spec.weight.max(1)
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.measured.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn has_room(&self) -> bool {
        !self.shared.policy.limits || self.in_flight() < u64::from(self.spec.max_connections)
    }

    /// Whether it is about to leave.
    pub(super) fn is_draining(&self) -> bool {
        self.measured.draining.load(Ordering::Relaxed)
    }

    /// Whether nothing speaks against it.
    pub(super) fn is_well(&self, now: Instant) -> bool {
        !self.measured.unhealthy.load(Ordering::Relaxed) && !self.is_ejected(now)
    }

    fn is_ejected(&self, now: Instant) -> bool {
        self.measured.ejected_until.load(Ordering::Relaxed) > self.nanos(now)
    }

    /// When it is no longer ejected, if it is.
    pub(super) fn ejected_until(&self, now: Instant) -> Option<Instant> {
        let until = self.measured.ejected_until.load(Ordering::Relaxed);
        (until > self.nanos(now)).then(|| self.shared.epoch + Duration::from_nanos(until))
    }

    /// When its slow start ends, if it has one.
    pub(super) fn slow_until(&self) -> Option<Instant> {
        let started_at = self.measured.started_at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.shared.epoch + Duration::from_nanos(started_at) + self.shared.policy.slow_start)
    }

    /// Which part of its share it is given now.
    pub(super) fn ramp(&self, now: Instant) -> f64 {
        let slow_start = self.shared.policy.slow_start.as_nanos() as f64;
        match self.measured.started_at.load(Ordering::Relaxed).checked_sub(1) {
            Some(started_at) if slow_start > 0.0 => {
                (self.nanos(now).saturating_sub(started_at) as f64 / slow_start).clamp(SLOWEST_START, 1.0)
            }
            _ => 1.0,
        }
    }

    /// The mean of the last ten response times in seconds, if there are any.
    pub(super) fn mean(&self) -> Option<f64> {
        self.measured.recent.mean().map(|nanos| nanos / 1e9)
    }

    /// The decaying peak of response times in nanoseconds, if there are any.
    pub(super) fn peak(&self, now: Instant) -> Option<f32> {
        let (millis, half_life) = self.peak_time(now);
        self.measured.peak.value(millis, half_life)
    }

    /// Takes it to be as fast as others usually are, until it is measured.
    pub(super) fn presume(&self, nanos: f64, now: Instant) {
        if nanos > 0.0 {
            let (millis, half_life) = self.peak_time(now);
            self.measured.peak.record(nanos as f32, millis, half_life);
        }
    }

    fn peak_time(&self, now: Instant) -> (u32, f32) {
        ((self.nanos(now) / 1_000_000) as u32, self.shared.policy.half_life.as_millis().max(1) as f32)
    }

    fn nanos(&self, now: Instant) -> u64 {
        nanos(now, self.shared.epoch)
    }
}

fn nanos(now: Instant, epoch: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX)
}
