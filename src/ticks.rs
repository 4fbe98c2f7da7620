use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Ticks for a loop, the first one at once. A late tick delays those that follow instead of making them up.
#[derive(Debug)]
pub(crate) struct Ticks(Interval);

impl Ticks {
    pub(crate) fn every(interval: Duration) -> Self {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(ticks)
    }

    /// Puts the next tick a whole interval from now.
    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }

    /// Waits for the next tick.
    pub(crate) async fn next(&mut self) {
        self.0.tick().await;
    }

    /// Waits for the next tick; false once `stop` is cancelled.
    pub(crate) async fn next_until(&mut self, stop: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = self.next() => true,
        }
    }
}
