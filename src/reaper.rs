//! Removes what has expired from the shared store, so that it does not grow. One instance does it at a time, by a lock;
//! nothing depends on when: what has expired is refused whether it is still there or not.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{clock::Timestamp, fleet::ProcessId, shared_store::SharedStore, store_error::StoreError, tuner::Tunable};

/// How often at least, in seconds.
pub const REAP_EVERY_SECONDS: u64 = 60;
const LOCK: &str = "reaper";
const LEASE: Duration = Duration::from_secs(2 * REAP_EVERY_SECONDS);

/// Reaps at once and then as often as `every_seconds` says, until stopped; `process` holds the lock.
pub async fn run(store: Arc<dyn SharedStore>, process: ProcessId, mut every_seconds: Tunable, stop: CancellationToken) {
    let mut last: Option<Instant> = None;
    loop {
        let next = last.map_or_else(Instant::now, |last| last + Duration::from_secs(every_seconds.get()));
        tokio::select! {
            () = stop.cancelled() => break,
            _ = every_seconds.changed() => continue,
            () = tokio::time::sleep_until(next) => {}
        }
        last = Some(Instant::now());
        match reap(store.as_ref(), &process).await {
            Ok(0) => {}
            Ok(sessions) => tracing::debug!(sessions, "expired sessions were removed"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "expired sessions could not be removed")
            }
        }
    }
    if let Err(error) = store.release_lock(LOCK, &process.holder()).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the reaper's lock was not released");
    }
}

async fn reap(store: &dyn SharedStore, process: &ProcessId) -> Result<u64, StoreError> {
    match store.acquire_lock(LOCK, &process.holder(), LEASE).await? {
        Some(_fence) => store.reap(Timestamp::now()).await,
        None => Ok(0),
    }
}
