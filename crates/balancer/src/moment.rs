//! Time since the balancer's epoch, in words that atomics hold.

use std::time::{Duration, Instant};

/// A point in time. Computed once for each pick and each end of a request, as computing it costs more than using it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Nanoseconds since the epoch; enough for 584 years.
    pub(super) nanos: u64,
    /// Milliseconds since the epoch, wrapping after 49 days.
    pub(super) millis: u32,
}

impl Moment {
    pub(super) fn new(now: Instant, epoch: Instant) -> Self {
        let since = now.saturating_duration_since(epoch);
        let millis = since.as_secs().wrapping_mul(1000).wrapping_add(u64::from(since.subsec_millis()));
        Self { nanos: nanos(since), millis: millis as u32 }
    }

    /// Returns the milliseconds since `stamp`; 0 if another thread recorded it slightly later than this moment.
    pub(super) fn since(self, stamp: u32) -> f32 {
        const LATER: u32 = u32::MAX - 60_000;
        let age = self.millis.wrapping_sub(stamp);
        if age > LATER { 0.0 } else { age as f32 }
    }
}

/// Returns nanoseconds as one word; `Duration::as_nanos` computes with two.
pub(super) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}
