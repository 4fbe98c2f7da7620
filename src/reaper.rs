//! Removes what has expired from the shared store, so that it does not grow. One instance does it at a time, by a lock;
//! nothing depends on when: what has expired is refused whether it is still there or not.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{clock::Timestamp, shared_store::SharedStore, store_error::StoreError};

/// How often.
pub const REAP_EVERY: Duration = Duration::from_secs(60);
const LOCK: &str = "reaper";

/// Reaps until stopped; `instance_id` holds the lock.
pub async fn run(store: Arc<dyn SharedStore>, instance_id: String, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(REAP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
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
    match store.acquire_lock(LOCK, instance_id, 2 * REAP_EVERY, now).await? {
        Some(_fence) => store.reap(now).await,
        None => Ok(0),
    }
}
