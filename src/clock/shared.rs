//! Shared clock: the time of the shared store, read periodically and extrapolated with the monotonic clock.
//!
//! All instances therefore agree on the time even if a system clock is wrong or jumps, and no request waits or takes a lock
//! to get it. The store read its clock at some point between request and response, so the midpoint is wrong by at most half
//! of the round trip. A reading replaces the current estimate if its error bound is smaller, or if the two contradict each
//! other. A contradiction means that the store's clock was set, another server took over, or this machine was suspended.

use std::{
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use super::timestamp::Timestamp;
use crate::sync::MutexExt;

/// Shared clock of this process.
pub static SHARED: LazyLock<SharedClock> = LazyLock::new(|| SharedClock::new(Instant::now()));

/// Offset before the first reading.
const UNKNOWN: i64 = i64::MIN;

/// Error of a reading, which is in whole milliseconds.
const RESOLUTION: Duration = Duration::from_millis(1);

/// Inverse of the maximum drift between two clocks, including the rate at which one of them may be adjusted: 1 / 1000.
const INVERSE_DRIFT: u32 = 1000;

/// Another clock, extrapolated with the monotonic clock.
#[derive(Debug)]
pub struct SharedClock {
    origin: Instant,
    /// Time of the other clock at `origin`, in Unix microseconds, or [`UNKNOWN`].
    offset: AtomicI64,
    estimate: Mutex<Option<Estimate>>,
}

/// Time that the other clock showed between two moments.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub time: Timestamp,
    /// When the request was sent.
    pub sent: Instant,
    /// When the response arrived.
    pub received: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Estimate {
    offset: i64,
    /// Bound of the error at `made_at`.
    error: Duration,
    made_at: Instant,
}

impl SharedClock {
    /// Creates a clock without a reading.
    pub fn new(origin: Instant) -> Self {
        Self { origin, offset: AtomicI64::new(UNKNOWN), estimate: Mutex::new(None) }
    }

    /// Returns the time at `moment`, which must not be before the origin; `None` before the first reading.
    pub fn at(&self, moment: Instant) -> Option<Timestamp> {
        let offset = self.offset.load(Ordering::Relaxed);
        let micros = offset.saturating_add(self.monotonic(moment));
        (offset != UNKNOWN).then(|| Timestamp::from_millis(micros.div_euclid(1000)))
    }

    /// Whether there has been a reading.
    pub fn is_known(&self) -> bool {
        self.offset.load(Ordering::Relaxed) != UNKNOWN
    }

    /// Returns by how many seconds the system clock is ahead of this clock; `None` before the first reading.
    pub fn difference(&self) -> Option<f64> {
        let shared = self.at(Instant::now())?;
        Some((Timestamp::system_now().millis().saturating_sub(shared.millis())) as f64 / 1000.0)
    }

    /// Adopts a reading if it improves or contradicts the estimate. Returns the jump in seconds in case of a contradiction.
    pub fn adopt(&self, reading: Reading) -> Option<f64> {
        let half = reading.received.saturating_duration_since(reading.sent) / 2;
        let (made_at, error) = (reading.sent + half, half + RESOLUTION);
        let micros = reading.time.millis().saturating_mul(1000).saturating_add(500);
        let offset = micros.saturating_sub(self.monotonic(made_at)).max(UNKNOWN + 1);
        let mut estimate = self.estimate.locked();
        let mut jump = None;
        if let Some(before) = *estimate {
            let error_before = before.error + made_at.saturating_duration_since(before.made_at) / INVERSE_DRIFT;
            let apart = Duration::from_micros(offset.abs_diff(before.offset));
            if apart > error.saturating_add(error_before) {
                jump = Some(offset.saturating_sub(before.offset) as f64 / 1e6);
            } else if error >= error_before {
                return None;
            }
        }
        *estimate = Some(Estimate { offset, error, made_at });
        self.offset.store(offset, Ordering::Relaxed);
        jump
    }

    /// Microseconds from the origin to `moment`.
    fn monotonic(&self, moment: Instant) -> i64 {
        i64::try_from(moment.saturating_duration_since(self.origin).as_micros()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: i64 = 1_700_000_000_000;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A reading in the middle of `trip`, which began at `sent`, of a clock that is `ahead` of one that showed [`TIME`] at the
    /// origin. All in milliseconds.
    fn reading(clock: &SharedClock, sent: u64, trip: u64, ahead: i64) -> Reading {
        let sent_at = clock.origin + millis(sent);
        let time = Timestamp::from_millis(TIME + (sent + trip / 2) as i64 + ahead);
        Reading { time, sent: sent_at, received: sent_at + millis(trip) }
    }

    fn ahead_at(clock: &SharedClock, moment: u64) -> i64 {
        let time = clock.at(clock.origin + millis(moment)).expect("a reading");
        time.millis() - TIME - moment as i64
    }

    #[test]
    fn the_time_advances_after_a_reading() {
        let clock = SharedClock::new(Instant::now());
        assert!(!clock.is_known());
        assert_eq!(clock.at(Instant::now()), None);
        assert_eq!(clock.adopt(reading(&clock, 10, 2, 0)), None);
        assert!(clock.is_known());
        for moment in [11, 5_000, 86_400_000] {
            assert_eq!(ahead_at(&clock, moment), 0);
        }
    }

    #[test]
    fn a_slow_reading_does_not_replace_a_more_exact_one() {
        let clock = SharedClock::new(Instant::now());
        clock.adopt(reading(&clock, 0, 2, 0));
        // The store may have read its clock at the beginning or at the end of the round trip.
        for ahead in [-90, 90] {
            assert_eq!(clock.adopt(reading(&clock, 1000, 200, ahead)), None);
            assert_eq!(ahead_at(&clock, 2000), 0);
        }
        assert_eq!(clock.adopt(reading(&clock, 10_000, 2, 5)), None, "both may have drifted that far");
        assert_eq!(ahead_at(&clock, 11_000), 5);
    }

    #[test]
    fn a_more_exact_reading_replaces_a_slow_first_one() {
        let clock = SharedClock::new(Instant::now());
        clock.adopt(reading(&clock, 0, 200, 90));
        assert_eq!(clock.adopt(reading(&clock, 300, 2, 0)), None);
        assert_eq!(ahead_at(&clock, 400), 0);
    }

    #[test]
    fn a_clock_that_was_set_is_adopted_at_once() {
        let clock = SharedClock::new(Instant::now());
        clock.adopt(reading(&clock, 0, 2, 0));
        for (sent, ahead, jump) in [(1000, -3_600_000, -3600.0), (2000, 0, 3600.0), (3000, 5000, 5.0)] {
            let jumped = clock.adopt(reading(&clock, sent, 200, ahead)).expect("a jump");
            assert!((jumped - jump).abs() < 0.01, "{jumped}");
            assert_eq!(ahead_at(&clock, sent + 500), ahead);
        }
    }

    #[test]
    fn extreme_readings_do_not_overflow() {
        let clock = SharedClock::new(Instant::now());
        for time in [i64::MIN, i64::MAX, 0, -1] {
            let (sent, received) = (clock.origin, clock.origin + millis(1));
            clock.adopt(Reading { time: Timestamp::from_millis(time), sent, received });
            assert!(clock.at(received).is_some(), "{time}");
        }
    }
}
