//! Measurements of a node, all of them atomic: requests on a node never wait for each other.
//!
//! The fields that picks read and requests write are together at the front; the others are written once a request or rarely.

use super::{
    Outcome, Policy,
    latency::{Peak, Recent},
    moment::{Moment, nanos},
    sync::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

/// The part of its share that a node gets at the beginning of a slow start.
const MIN_SHARE: f64 = 0.1;

/// [`Policy`] in the units of the computations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    /// Half-lives per millisecond.
    pub(super) half_lives_per_milli: f32,
    pub(super) error_penalty_nanos: f32,
    pub(super) slow_start_nanos: u64,
}

impl Rates {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            half_lives_per_milli: (1e-3 / policy.half_life.as_secs_f64().max(1e-3)) as f32,
            error_penalty_nanos: nanos(policy.error_penalty) as f32,
            slow_start_nanos: nanos(policy.slow_start),
        }
    }
}

/// The number of lower bits of [`Measured::counts`] that count requests in flight; the upper bits count measured requests.
const IN_FLIGHT_BITS: u32 = 24;
const IN_FLIGHT: u64 = (1 << IN_FLIGHT_BITS) - 1;

/// Measurements of one node. They outlive its specification and every snapshot.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Measured {
    /// Requests in flight and requests measured, in one word, so that the end of a request changes both in one operation.
    counts: AtomicU64,
    peak: Peak,
    failures_in_a_row: AtomicU32,
    unhealthy: AtomicBool,
    draining: AtomicBool,
    /// The start of the slow start in nanoseconds since the epoch, plus 1; 0 without one.
    started_at: AtomicU64,
    /// The end of the last ejection in nanoseconds since the epoch; 0 without one.
    ejected_until: AtomicU64,
    recent: Recent,
    errors: AtomicU64,
    cancelled: AtomicU64,
    /// The number of ejections that followed closely on each other.
    ejections: AtomicU32,
    /// Time of the last health check in nanoseconds since the epoch, plus 1; 0 before the first.
    checked_at: AtomicU64,
}

impl Measured {
    /// Starts without requests; a slow start begins at `started_at`, if there is one.
    pub(super) fn new(started_at: Option<Moment>) -> Self {
        const EPOCH: Moment = Moment { nanos: 0, millis: 0 };
        Self {
            counts: AtomicU64::new(0),
            peak: Peak::new(),
            failures_in_a_row: AtomicU32::new(0),
            unhealthy: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            started_at: AtomicU64::new(started_at.map_or(0, |at| at.nanos + 1)),
            ejected_until: AtomicU64::new(0),
            recent: Recent::new(started_at.unwrap_or(EPOCH)),
            errors: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            checked_at: AtomicU64::new(0),
        }
    }

    /// Counts a request as in flight, regardless of the limit.
    pub(super) fn acquire(&self) {
        self.counts.fetch_add(1, Ordering::Relaxed);
    }

    /// Stops counting a request as in flight, without recording it.
    pub(super) fn release(&self) {
        self.counts.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a request as in flight if fewer than `max` are; check and count are one atomic step.
    pub(super) fn try_acquire(&self, max: u64) -> bool {
        let max = max.min(IN_FLIGHT);
        let acquired = |counts| (counts & IN_FLIGHT < max).then_some(counts + 1);
        self.counts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, acquired).is_ok()
    }

    /// Records the end of a request.
    pub(super) fn end(&self, took: f32, outcome: Outcome, now: Moment, rates: &Rates) {
        match outcome {
            Outcome::Success => {
                self.record(took, now, rates);
                if self.failures_in_a_row.load(Ordering::Relaxed) > 0 {
                    self.failures_in_a_row.store(0, Ordering::Relaxed);
                }
            }
            Outcome::Failure => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                self.record(took.max(rates.error_penalty_nanos), now, rates);
            }
            Outcome::Refused => self.record(took.max(rates.error_penalty_nanos), now, rates),
            Outcome::Cancelled => {
                self.cancelled.fetch_add(1, Ordering::Relaxed);
                // A cancelled request shows only that the node would have taken longer.
                if took > self.peak(now, rates) && self.measured() > 0 {
                    self.peak.record(took, now, rates.half_lives_per_milli);
                }
                self.counts.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Records a latency, and stops counting the request as in flight.
    fn record(&self, nanos: f32, now: Moment, rates: &Rates) {
        self.peak.record(nanos, now, rates.half_lives_per_milli);
        let counts = self.counts.fetch_add((1 << IN_FLIGHT_BITS) - 1, Ordering::Relaxed);
        self.recent.record(counts >> IN_FLIGHT_BITS, nanos, now);
    }

    /// Returns the number of requests that have ended and were not cancelled.
    fn measured(&self) -> u64 {
        self.counts.load(Ordering::Relaxed) >> IN_FLIGHT_BITS
    }

    /// Counts a failure; returns whether it ejects the node.
    pub(super) fn count_failure(&self, now: Moment, policy: &Policy) -> bool {
        let failures = self.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        // Failures during an ejection are of requests that were in flight before it.
        if policy.eject_after == 0 || failures < policy.eject_after || self.is_ejected(now) {
            return false;
        }
        let last = self.ejected_until.load(Ordering::Relaxed);
        let ejections = if last > 0 && now.nanos.saturating_sub(last) < nanos(policy.max_ejection) {
            self.ejections.fetch_add(1, Ordering::Relaxed)
        } else {
            self.ejections.store(1, Ordering::Relaxed);
            0
        };
        let time = policy.base_ejection.saturating_mul(1 << ejections.min(16)).min(policy.max_ejection);
        let until = now.nanos + nanos(time);
        self.ejected_until.store(until, Ordering::Relaxed);
        self.started_at.store(until + 1, Ordering::Relaxed);
        self.failures_in_a_row.store(0, Ordering::Relaxed);
        true
    }

    /// Records a health check; returns whether the node's health has changed.
    pub(super) fn set_healthy(&self, healthy: bool, now: Moment) -> bool {
        self.checked_at.store(now.nanos + 1, Ordering::Relaxed);
        if self.unhealthy.swap(!healthy, Ordering::Relaxed) != healthy {
            return false;
        }
        if healthy {
            self.started_at.store(now.nanos + 1, Ordering::Relaxed);
        }
        true
    }

    /// Sets whether the node is draining; returns whether that has changed.
    pub(super) fn set_draining(&self, draining: bool) -> bool {
        self.draining.swap(draining, Ordering::Relaxed) != draining
    }

    /// Assumes a latency until the node is measured.
    pub(super) fn assume_latency(&self, nanos: f32, now: Moment, rates: &Rates) {
        if nanos > 0.0 {
            self.peak.record(nanos, now, rates.half_lives_per_milli);
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.counts.load(Ordering::Relaxed) & IN_FLIGHT
    }

    pub(super) fn is_healthy(&self) -> bool {
        !self.unhealthy.load(Ordering::Relaxed)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(super) fn is_ejected(&self, now: Moment) -> bool {
        self.ejected_until() > now.nanos
    }

    /// Returns the end of the last ejection in nanoseconds since the epoch; 0 without one.
    pub(super) fn ejected_until(&self) -> u64 {
        self.ejected_until.load(Ordering::Relaxed)
    }

    /// Returns the end of the slow start in nanoseconds since the epoch, if there is one.
    pub(super) fn slow_start_until(&self, rates: &Rates) -> Option<u64> {
        Some(self.started_at.load(Ordering::Relaxed).checked_sub(1)? + rates.slow_start_nanos)
    }

    /// Returns the part of its share that the node gets at `now`.
    pub(super) fn ramp(&self, now: Moment, rates: &Rates) -> f64 {
        match self.started_at.load(Ordering::Relaxed).checked_sub(1) {
            Some(started_at) if rates.slow_start_nanos > 0 => {
                let part = now.nanos.saturating_sub(started_at) as f64 / rates.slow_start_nanos as f64;
                part.clamp(MIN_SHARE, 1.0)
            }
            _ => 1.0,
        }
    }

    /// Returns the mean of the last ten response times in nanoseconds, if there are any.
    pub(super) fn mean(&self) -> Option<f64> {
        self.recent.mean(self.measured())
    }

    /// Returns the expected response time at `now` in seconds. A mean without recent samples decays towards `typical`. A node
    /// without any sample starts at `typical` and decays towards 0. So a node is tried again that got no requests because it
    /// was slow, or because all nodes were slow when it was added.
    pub(super) fn mean_now(&self, typical: f64, now: Moment, rates: &Rates) -> f64 {
        let weight = self.recent.weight(now, rates.half_lives_per_milli);
        self.mean().map_or(typical * weight, |mean| typical + (mean / 1e9 - typical) * weight)
    }

    /// Returns the decaying peak of response times in nanoseconds; 0 without any.
    pub(super) fn peak(&self, now: Moment, rates: &Rates) -> f32 {
        self.peak.value(now, rates.half_lives_per_milli)
    }

    /// Returns the number of ended requests, and of those that failed or were cancelled.
    pub(super) fn ended(&self) -> (u64, u64) {
        let cancelled = self.cancelled.load(Ordering::Relaxed);
        (self.measured() + cancelled, self.errors.load(Ordering::Relaxed) + cancelled)
    }

    /// Returns the number of ejections in a row.
    pub(super) fn ejections(&self) -> u32 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// Returns the time of the last health check in nanoseconds since the epoch.
    pub(super) fn checked_at(&self) -> Option<u64> {
        self.checked_at.load(Ordering::Relaxed).checked_sub(1)
    }
}
