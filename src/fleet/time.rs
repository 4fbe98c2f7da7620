//! Keeps the clock that instances share ([`SHARED`]) at the time of the shared store.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Reading, SHARED},
    log::repeats::Repeats,
    shared_store::SharedStore,
    store_error::StoreError,
};

/// How often the store's clock is read.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// How often until it was read once: before, nothing should be decided by this machine's.
const FIRST_READ_INTERVAL: Duration = Duration::from_millis(100);

/// How many readings a start takes; the most exact counts.
const READINGS_AT_START: usize = 3;

/// How far the machine's clock may be off, in seconds, before the log says so, and how near it must come to be right again.
const DIFFERS: f64 = 1.0;
const AGREES: f64 = 0.5;

/// Reads the store's clock for the first time; a store that does not answer is read later, by [`follow`].
pub async fn begin(store: &dyn SharedStore) {
    for _ in 0..READINGS_AT_START {
        if read(store).await.is_err() {
            return;
        }
    }
}

/// Reads it every second until stopped.
pub async fn follow(store: Arc<dyn SharedStore>, stop: CancellationToken) {
    let mut difference = Difference::default();
    loop {
        // Whether the store answers is said by others.
        let read = stop.run_until_cancelled(read(store.as_ref())).await;
        if let Some(Ok(false)) = read {
            // The machine's clock is the store's.
            return stop.cancelled().await;
        }
        if let Some(seconds) = SHARED.difference() {
            difference.report(seconds);
        }
        let pause = if SHARED.is_known() { READ_INTERVAL } else { FIRST_READ_INTERVAL };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Reads it once; false if the store has none but the machine's.
async fn read(store: &dyn SharedStore) -> Result<bool, StoreError> {
    let sent = Instant::now();
    let Some(time) = store.time().await? else { return Ok(false) };
    let jump = SHARED.adopt(Reading { time, sent, received: Instant::now() });
    if let Some(seconds) = jump.filter(|seconds| seconds.abs() > DIFFERS) {
        static JUMPS: Repeats = Repeats::new(|count| tracing::warn!(count, "the shared store's clock jumped again"));
        JUMPS.record(|| tracing::warn!(seconds, "the shared store's clock jumped; sessions and limits go by it"));
    }
    Ok(true)
}

/// Says in the log when the machine's clock begins to differ, and when it agrees again.
#[derive(Debug, Default)]
struct Difference {
    reported: bool,
}

impl Difference {
    fn report(&mut self, seconds: f64) {
        if !self.reported && seconds.abs() > DIFFERS {
            self.reported = true;
            tracing::warn!(
                seconds_ahead = seconds,
                "this machine's clock differs from the shared store's, which is used instead; synchronize both"
            );
        } else if self.reported && seconds.abs() < AGREES {
            self.reported = false;
            tracing::info!("this machine's clock agrees with the shared store's again");
        }
    }
}
