//! Gives what embedded storage does not need any more back to the disk: free pages and write-ahead logs. Nothing depends on
//! when, and every process that shares the files may do it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{sqlite::Database, tuner::Tunable};

/// How often, in seconds.
pub const COMPACT_EVERY_SECONDS: u64 = 3600;

/// Compacts the files as often as `every_seconds` says, until stopped.
pub async fn run(files: Vec<Arc<Database>>, mut every_seconds: Tunable, stop: CancellationToken) {
    let mut last = Instant::now();
    loop {
        let next = last + Duration::from_secs(every_seconds.get());
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every_seconds.changed() => continue,
            () = tokio::time::sleep_until(next) => {}
        }
        for file in &files {
            match file.compact().await {
                Ok(0) => {}
                Ok(pages) => tracing::info!(file = file.name(), pages, "free pages were given back to the disk"),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a file could not be made smaller")
                }
            }
        }
        last = Instant::now();
    }
}
