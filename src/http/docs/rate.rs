//! A rate limiter: the generic cell rate algorithm (GCRA), whose state is one number.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Admits a burst, then one event per interval.
pub(super) struct RateLimiter {
    started: Instant,
    /// In nanoseconds.
    interval: u64,
    /// How far `due` may be ahead of the present, in nanoseconds.
    burst: u64,
    /// The theoretical arrival time of the next event, in nanoseconds since `started`.
    due: AtomicU64,
}

impl RateLimiter {
    pub(super) fn new(interval: Duration, burst: u32) -> Self {
        let interval = nanos(interval);
        Self { started: Instant::now(), interval, burst: interval * u64::from(burst), due: AtomicU64::new(0) }
    }

    /// Admits one event.
    ///
    /// # Errors
    /// The time until the next event is admitted.
    pub(super) fn admit(&self) -> Result<(), Duration> {
        self.admit_at(nanos(self.started.elapsed()))
    }

    fn admit_at(&self, now: u64) -> Result<(), Duration> {
        let charge = |due: u64| {
            let charged = due.max(now) + self.interval;
            (charged <= now + self.burst).then_some(charged)
        };
        match self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge) {
            Ok(_) => Ok(()),
            Err(due) => Err(Duration::from_nanos((due + self.interval).saturating_sub(now + self.burst))),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_a_burst_and_then_one_event_per_interval() {
        const MILLI: u64 = 1_000_000;
        let rate = RateLimiter::new(Duration::from_millis(10), 3);
        assert!((0..3).all(|_| rate.admit_at(0).is_ok()));
        assert_eq!(rate.admit_at(4 * MILLI), Err(Duration::from_millis(6)));
        assert!(rate.admit_at(10 * MILLI).is_ok() && rate.admit_at(10 * MILLI).is_err());
        assert!((0..3).all(|_| rate.admit_at(1000 * MILLI).is_ok()));
        assert!(rate.admit_at(1000 * MILLI).is_err());
    }
}
