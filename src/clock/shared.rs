//! The time that instances agree on: that of the store they share, read now and then and counted on by the monotonic clock.
//!
//! So a wall clock that is wrong or jumps changes nothing here, and no request waits for the time or takes a lock for it. As
//! with any reading over a network, the store read its clock at some moment between question and answer: the middle of them is
//! off by half of that time at most. A reading replaces what is known if it is more exact, or if both can't be true: then the
//! store's clock was set, another server took over, or this machine was suspended.

use std::{
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Timestamp;
use crate::sync::MutexExt;

/// The clock of this process.
pub static SHARED: LazyLock<SharedClock> = LazyLock::new(|| SharedClock::new(Instant::now()));

/// Stands for an offset that is not known.
const UNKNOWN: i64 = i64::MIN;

/// What is lost of a reading, which is in whole milliseconds.
const RESOLUTION: Duration = Duration::from_millis(1);

/// One part in so many is how far two clocks may drift apart, and another that one of them is being corrected by.
const DRIFT: u32 = 1000;

/// The time of another clock, carried on by the monotonic one.
#[derive(Debug)]
pub struct SharedClock {
    /// Where the monotonic clock is counted from.
    origin: Instant,
    /// The other clock at the origin, in Unix microseconds.
    offset: AtomicI64,
    known: Mutex<Option<Estimate>>,
}

/// The other clock's time, which it showed between two moments.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// The time.
    pub time: Timestamp,
    /// When it was asked for.
    pub sent: Instant,
    /// When it came.
    pub received: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Estimate {
    offset: i64,
    /// Bound of its error when it was made.
    error: Duration,
    made_at: Instant,
}

impl SharedClock {
    /// One that has not been read.
    pub fn new(origin: Instant) -> Self {
        Self { origin, offset: AtomicI64::new(UNKNOWN), known: Mutex::new(None) }
    }

    /// The time at `moment`, not before the origin; none before the first reading.
    pub fn at(&self, moment: Instant) -> Option<Timestamp> {
        let offset = self.offset.load(Ordering::Relaxed);
        let micros = offset.saturating_add(self.monotonic(moment));
        (offset != UNKNOWN).then(|| Timestamp::from_millis(micros.div_euclid(1000)))
    }

    /// Whether it has been read.
    pub fn is_known(&self) -> bool {
        self.offset.load(Ordering::Relaxed) != UNKNOWN
    }

    /// How far the machine's clock is ahead of this one, in seconds; none before the first reading.
    pub fn difference(&self) -> Option<f64> {
        let shared = self.at(Instant::now())?;
        Some((Timestamp::system_now().millis().saturating_sub(shared.millis())) as f64 / 1000.0)
    }

    /// Takes a reading in. Returns by how many seconds the time has jumped, if it can't have drifted so far.
    pub fn adopt(&self, reading: Reading) -> Option<f64> {
        let half = reading.received.saturating_duration_since(reading.sent) / 2;
        let (made_at, error) = (reading.sent + half, half + RESOLUTION);
        let micros = reading.time.millis().saturating_mul(1000).saturating_add(500);
        let offset = micros.saturating_sub(self.monotonic(made_at)).max(UNKNOWN + 1);
        let mut known = self.known.locked();
        let mut jump = None;
        if let Some(before) = *known {
            let error_before = before.error + made_at.saturating_duration_since(before.made_at) / DRIFT;
            let apart = Duration::from_micros(offset.abs_diff(before.offset));
            if apart > error.saturating_add(error_before) {
                jump = Some(offset.saturating_sub(before.offset) as f64 / 1e6);
            } else if error >= error_before {
                return None;
            }
        }
        *known = Some(Estimate { offset, error, made_at });
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

    /// The other clock, `ahead` of one that showed [`TIME`] at the origin, read in the middle of `trip`, which began at `sent`.
    fn reading(clock: &SharedClock, sent: u64, trip: u64, ahead: i64) -> Reading {
        let sent_at = clock.origin + millis(sent);
        let time = Timestamp::from_millis(TIME + (sent + trip / 2) as i64 + ahead);
        Reading { time, sent: sent_at, received: sent_at + millis(trip) }
    }

    fn ahead_at(clock: &SharedClock, moment: u64) -> i64 {
        let time = clock.at(clock.origin + millis(moment)).expect("it was read");
        time.millis() - TIME - moment as i64
    }

    #[test]
    fn it_counts_on_from_a_reading() {
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
    fn a_reading_that_took_long_does_not_replace_a_better_one() {
        let clock = SharedClock::new(Instant::now());
        clock.adopt(reading(&clock, 0, 2, 0));
        // The store may have read its clock at the beginning or at the end of that time.
        for ahead in [-90, 90] {
            assert_eq!(clock.adopt(reading(&clock, 1000, 200, ahead)), None);
            assert_eq!(ahead_at(&clock, 2000), 0);
        }
        assert_eq!(clock.adopt(reading(&clock, 10_000, 2, 5)), None, "both may have drifted that far");
        assert_eq!(ahead_at(&clock, 11_000), 5);
    }

    #[test]
    fn a_long_first_reading_is_replaced_by_a_better_one() {
        let clock = SharedClock::new(Instant::now());
        clock.adopt(reading(&clock, 0, 200, 90));
        assert_eq!(clock.adopt(reading(&clock, 300, 2, 0)), None);
        assert_eq!(ahead_at(&clock, 400), 0);
    }

    #[test]
    fn a_clock_that_was_set_is_followed_at_once() {
        let clock = SharedClock::new(Instant::now());
        clock.adopt(reading(&clock, 0, 2, 0));
        for (sent, ahead, jump) in [(1000, -3_600_000, -3600.0), (2000, 0, 3600.0), (3000, 5000, 5.0)] {
            let jumped = clock.adopt(reading(&clock, sent, 200, ahead)).expect("a jump");
            assert!((jumped - jump).abs() < 0.01, "{jumped}");
            assert_eq!(ahead_at(&clock, sent + 500), ahead);
        }
    }

    #[test]
    fn no_reading_is_out_of_range() {
        let clock = SharedClock::new(Instant::now());
        for time in [i64::MIN, i64::MAX, 0, -1] {
            let (sent, received) = (clock.origin, clock.origin + millis(1));
            clock.adopt(Reading { time: Timestamp::from_millis(time), sent, received });
            assert!(clock.at(received).is_some(), "{time}");
        }
    }
}
