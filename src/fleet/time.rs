//! Synchronizes the shared clock ([`SHARED`]) with the clock of the shared store.

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

/// Interval of readings of the store's clock.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// Interval until the first reading. It is short because decisions before it would use this machine's clock.
const FIRST_READ_INTERVAL: Duration = Duration::from_millis(100);

/// Readings at start; the most accurate one is used.
const READINGS_AT_START: usize = 3;

/// Clock skew in seconds above which a warning is logged, and below which it is over.
const SKEW_WARNING: f64 = 1.0;
const SKEW_RECOVERY: f64 = 0.5;

/// Reads the store's clock at start. If the store does not answer, [`follow`] does it later.
pub async fn initialize(store: &dyn SharedStore) {
    for _ in 0..READINGS_AT_START {
        if read(store).await.is_err() {
            return;
        }
    }
}

/// Reads the store's clock every second until stopped.
pub async fn follow(store: Arc<dyn SharedStore>, stop: CancellationToken) {
    let mut skew = SkewReporter::default();
    loop {
        // Errors are ignored here: other tasks log that the store is unavailable.
        let read = stop.run_until_cancelled(read(store.as_ref())).await;
        if let Some(Ok(false)) = read {
            // An embedded store uses this machine's clock.
            return stop.cancelled().await;
        }
        if let Some(seconds) = SHARED.difference() {
            skew.report(seconds);
        }
        let pause = if SHARED.is_known() { READ_INTERVAL } else { FIRST_READ_INTERVAL };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Reads the store's clock once. Returns false if the store has no clock of its own.
async fn read(store: &dyn SharedStore) -> Result<bool, StoreError> {
    let sent = Instant::now();
    let Some(time) = store.time().await? else { return Ok(false) };
    let jump = SHARED.adopt(Reading { time, sent, received: Instant::now() });
    if let Some(seconds) = jump.filter(|seconds| seconds.abs() > SKEW_WARNING) {
        static JUMPS: Repeats = Repeats::new(|count| tracing::warn!(count, "shared store's clock jumped again"));
        JUMPS.record(|| {
            tracing::warn!(seconds, "shared store's clock jumped; session expiry and rate limits follow it")
        });
    }
    Ok(true)
}

/// Logs when the machine's clock begins to differ from the store's, and when it agrees again.
#[derive(Debug, Default)]
struct SkewReporter {
    reported: bool,
}

impl SkewReporter {
    fn report(&mut self, seconds: f64) {
        if !self.reported && seconds.abs() > SKEW_WARNING {
            self.reported = true;
            tracing::warn!(
                seconds_ahead = seconds,
                "this machine's clock differs from the shared store's, which is used instead; synchronize both"
            );
        } else if self.reported && seconds.abs() < SKEW_RECOVERY {
            self.reported = false;
            tracing::info!("this machine's clock agrees with the shared store's again");
        }
    }
}
