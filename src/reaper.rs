//! Removes what has expired from the shared store, so that it does not grow. One instance does it at a time, by a lock;
//! nothing depends on when: what has expired is refused whether it is still there or not.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{clock::Timestamp, shared_store::SharedStore, store_error::StoreError, tuner::Dial};

/// How often at least, in seconds.
pub const REAP_EVERY_SECONDS: u64 = 60;
const LOCK: &str = "reaper";
const LEASE: Duration = Duration::from_secs(2 * REAP_EVERY_SECONDS);

/// Reaps at once and then as often as `every_seconds` says, until stopped; `instance_id` holds the lock.
pub async fn run(store: Arc<dyn SharedStore>, instance_id: String, mut every_seconds: Dial, stop: CancellationToken) {
    let mut last: Option<Instant> = None;
    loop {
        let next = last.map_or_else(Instant::now, |last| last + Duration::from_secs(every_seconds.get()));
        tokio::select! {
            () = stop.cancelled() => break,
            _ = every_seconds.turned() => continue,
            () = tokio::time::sleep_until(next) => {}
        }
        last = Some(Instant::now());
        match reap(store.as_ref(), &instance_id).await {
            Ok(0) => {}
            Ok(sessions) => tracing::debug!(sessions, "expired sessions were removed"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "expired sessions could not be removed")
            }
        }
    }
    if let Err(error) = store.release_lock(LOCK, &instance_id).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the reaper's lock was not released");
    }
}

async fn reap(store: &dyn SharedStore, instance_id: &str) -> Result<u64, StoreError> {
    let now = Timestamp::now();
    match store.acquire_lock(LOCK, instance_id, LEASE, now).await? {
        Some(_fence) => store.reap(now).await,
        None => Ok(0),
    }
}
