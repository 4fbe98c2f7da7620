//! A bound on how often something is done (GCRA: one number says how far ahead of the rate it is).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// So many at once, then one each interval.
pub(super) struct Rate {
    started: Instant,
    interval: u64,
    burst: u64,
    /// When all that was admitted would be due, in nanoseconds since the start.
    due: AtomicU64,
}

impl Rate {
    pub(super) fn new(interval: Duration, burst: u32) -> Self {
        let interval = nanos(interval);
        Self { started: Instant::now(), interval, burst: interval * u64::from(burst), due: AtomicU64::new(0) }
    }

    /// Admits one.
    ///
    /// # Errors
    /// How long until the next may come.
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
    fn a_burst_is_admitted_and_then_one_each_interval() {
        const MILLI: u64 = 1_000_000;
        let rate = Rate::new(Duration::from_millis(10), 3);
        assert!((0..3).all(|_| rate.admit_at(0).is_ok()));
        assert_eq!(rate.admit_at(4 * MILLI), Err(Duration::from_millis(6)));
        assert!(rate.admit_at(10 * MILLI).is_ok() && rate.admit_at(10 * MILLI).is_err());
        assert!((0..3).all(|_| rate.admit_at(1000 * MILLI).is_ok()));
        assert!(rate.admit_at(1000 * MILLI).is_err());
    }
}
