use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// The ticks of a periodic loop, the first one immediate. A late tick delays the following ones; missed ticks are not made up.
#[derive(Debug)]
pub(crate) struct Ticks(Interval);

impl Ticks {
    pub(crate) fn every(interval: Duration) -> Self {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(ticks)
    }

    /// Schedules the next tick one interval from now.
    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }

    pub(crate) async fn next(&mut self) {
        self.0.tick().await;
    }

    /// Waits for the next tick. Returns false if `stop` is cancelled first.
    pub(crate) async fn next_until(&mut self, stop: &CancellationToken) -> bool {
        stop.run_until_cancelled(self.next()).await.is_some()
    }
}
