//! What is measured of a node. All of it is atomic: requests on a node never wait for each other.
//!
//! What every pick reads and every request writes is together at the front; the rest is written once a request, or seldom.

use super::{
    Outcome, Policy,
    latency::{Peak, Recent},
    moment::{Moment, nanos},
    sync::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

/// The part of its share that a node in slow start gets at first.
const SLOWEST_START: f64 = 0.1;

/// [`Policy`] in the units that are computed with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    /// Half-lives in a millisecond.
    pub(super) half_lives_per_milli: f32,
    pub(super) error_penalty_nanos: f32,
    pub(super) slow_start_nanos: u64,
}

impl Rates {
    pub(super) fn of(policy: &Policy) -> Self {
        Self {
            half_lives_per_milli: (1e-3 / policy.half_life.as_secs_f64().max(1e-3)) as f32,
            error_penalty_nanos: nanos(policy.error_penalty) as f32,
            slow_start_nanos: nanos(policy.slow_start),
        }
    }
}

/// How many of the lower bits of [`Measured::places`] count requests in flight; the others count measured ones.
const IN_FLIGHT_BITS: u32 = 24;
const IN_FLIGHT: u64 = (1 << IN_FLIGHT_BITS) - 1;

/// Counters of one node; they outlive its spec and every snapshot.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Measured {
    /// Requests in flight and requests measured, in one word: a request's end changes both at the price of one.
    places: AtomicU64,
    peak: Peak,
    failures_in_a_row: AtomicU32,
    unhealthy: AtomicBool,
    draining: AtomicBool,
    /// When its slow start began, plus 1; 0 if it has none.
    started_at: AtomicU64,
    /// 0 if it never was.
    ejected_until: AtomicU64,
    recent: Recent,
    errors: AtomicU64,
    cancelled: AtomicU64,
    /// How often it was ejected, each time soon after the last.
    ejections: AtomicU32,
    /// When a health check last ended, plus 1; 0 if none has.
    checked_at: AtomicU64,
}

impl Measured {
    /// A newcomer's slow start begins at `started_at`.
    pub(super) fn new(started_at: Option<Moment>) -> Self {
        const EPOCH: Moment = Moment { nanos: 0, millis: 0 };
        Self {
            places: AtomicU64::new(0),
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

    /// Takes a place, whatever the limit.
    pub(super) fn begin(&self) {
        self.places.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a place back without a record.
    pub(super) fn leave(&self) {
        self.places.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes a place if fewer than `most` are taken: check and count are one step.
    pub(super) fn try_begin(&self, most: u64) -> bool {
        let most = most.min(IN_FLIGHT);
        let place = |places| (places & IN_FLIGHT < most).then_some(places + 1);
        self.places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, place).is_ok()
    }

    /// Records how a request went and gives its place back.
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
                // It says only that the node would have taken longer.
                if took > self.peak(now, rates) && self.measured() > 0 {
                    self.peak.record(took, now, rates.half_lives_per_milli);
                }
                self.places.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Records a time and gives the place back.
    fn record(&self, nanos: f32, now: Moment, rates: &Rates) {
        self.peak.record(nanos, now, rates.half_lives_per_milli);
        let places = self.places.fetch_add((1 << IN_FLIGHT_BITS) - 1, Ordering::Relaxed);
        self.recent.record(places >> IN_FLIGHT_BITS, nanos, now);
    }

    /// How many requests have ended and were not broken off.
    fn measured(&self) -> u64 {
        self.places.load(Ordering::Relaxed) >> IN_FLIGHT_BITS
    }

    /// Counts a failure; whether it ejects the node.
    pub(super) fn count_failure(&self, now: Moment, policy: &Policy) -> bool {
        let failures = self.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        // Those that end later were under way when it was ejected.
        if policy.eject_after == 0 || failures < policy.eject_after || self.is_ejected(now) {
            return false;
        }
        let last = self.ejected_until.load(Ordering::Relaxed);
        let ejections = if last > 0 && now.nanos.saturating_sub(last) < nanos(policy.longest_ejection) {
            self.ejections.fetch_add(1, Ordering::Relaxed)
        } else {
            self.ejections.store(1, Ordering::Relaxed);
            0
        };
        let time = policy.ejection.saturating_mul(1 << ejections.min(16)).min(policy.longest_ejection);
        let until = now.nanos + nanos(time);
        self.ejected_until.store(until, Ordering::Relaxed);
        self.started_at.store(until + 1, Ordering::Relaxed);
        self.failures_in_a_row.store(0, Ordering::Relaxed);
        true
    }

    /// Notes what a health check found; whether that is news.
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

    /// Notes whether it is about to leave; whether that is news.
    pub(super) fn set_draining(&self, draining: bool) -> bool {
        self.draining.swap(draining, Ordering::Relaxed) != draining
    }

    /// Takes it to be as fast as others usually are, until it is measured.
    pub(super) fn presume(&self, nanos: f32, now: Moment, rates: &Rates) {
        if nanos > 0.0 {
            self.peak.record(nanos, now, rates.half_lives_per_milli);
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.places.load(Ordering::Relaxed) & IN_FLIGHT
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

    /// In nanoseconds since the epoch; 0 if it never was.
    pub(super) fn ejected_until(&self) -> u64 {
        self.ejected_until.load(Ordering::Relaxed)
    }

    /// When its slow start ends, in nanoseconds since the epoch, if it has one.
    pub(super) fn slow_until(&self, rates: &Rates) -> Option<u64> {
        Some(self.started_at.load(Ordering::Relaxed).checked_sub(1)? + rates.slow_start_nanos)
    }

    /// Which part of its share it is given now.
    pub(super) fn ramp(&self, now: Moment, rates: &Rates) -> f64 {
        match self.started_at.load(Ordering::Relaxed).checked_sub(1) {
            Some(started_at) if rates.slow_start_nanos > 0 => {
                let part = now.nanos.saturating_sub(started_at) as f64 / rates.slow_start_nanos as f64;
                part.clamp(SLOWEST_START, 1.0)
            }
            _ => 1.0,
        }
    }

    /// The mean of the last ten response times in nanoseconds, if there are any.
    pub(super) fn mean(&self) -> Option<f64> {
        self.recent.mean(self.measured())
    }

    /// The same in seconds as of `now`: what was not confirmed for long counts less and less, and `usual` in its place; what
    /// nothing is known of counts as usual at first, and as ever faster. So a node is tried that got nothing because it was
    /// slow, or because all were when it came.
    pub(super) fn mean_now(&self, usual: f64, now: Moment, rates: &Rates) -> f64 {
        let weight = self.recent.weight(now, rates.half_lives_per_milli);
        self.mean().map_or(usual * weight, |mean| usual + (mean / 1e9 - usual) * weight)
    }

    /// The decaying peak of response times in nanoseconds, 0 if there are none.
    pub(super) fn peak(&self, now: Moment, rates: &Rates) -> f32 {
        self.peak.value(now, rates.half_lives_per_milli)
    }

    /// How many requests have ended, and how many of them failed or were broken off.
    pub(super) fn ended(&self) -> (u64, u64) {
        let cancelled = self.cancelled.load(Ordering::Relaxed);
        (self.measured() + cancelled, self.errors.load(Ordering::Relaxed) + cancelled)
    }

    /// How often it was ejected in a row.
    pub(super) fn ejections(&self) -> u32 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// When a health check last ended, in nanoseconds since the epoch.
    pub(super) fn checked_at(&self) -> Option<u64> {
        self.checked_at.load(Ordering::Relaxed).checked_sub(1)
    }
}
