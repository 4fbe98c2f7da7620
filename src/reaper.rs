//! Periodic removal of expired entries from the shared store.
//!
//! A lock ensures that one instance does it at a time. Correctness does not depend on when it runs: expired entries are
//! rejected even while they are still stored.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{clock::Timestamp, fleet::ProcessId, shared_store::SharedStore, store_error::StoreError, tuner::Tunable};

/// Default time between two runs, in seconds.
pub const REAP_EVERY_SECONDS: u64 = 60;
const LOCK: &str = "reaper";
const LEASE: Duration = Duration::from_secs(2 * REAP_EVERY_SECONDS);

/// Reaps at once and then every `every_seconds` until `stop` is cancelled. `process` is the holder of the lock.
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
            Ok(sessions) => tracing::debug!(sessions, "removed expired sessions"),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "removing expired sessions failed; retrying at the next interval"
                )
            }
        }
    }
    if let Err(error) = store.release_lock(LOCK, &process.holder()).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "releasing the reaper lock failed; it expires by itself"
        );
    }
}

async fn reap(store: &dyn SharedStore, process: &ProcessId) -> Result<u64, StoreError> {
    match store.acquire_lock(LOCK, &process.holder(), LEASE).await? {
        Some(_fence) => store.reap(Timestamp::now()).await,
        None => Ok(0),
    }
}
