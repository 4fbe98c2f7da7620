//! Periodic compaction of embedded storage: returns free pages and write-ahead logs to the file system.
//!
//! Correctness does not depend on when it runs, and every process that shares the files may run it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{sqlite::Database, tuner::Tunable};

/// Default time between two compactions, in seconds.
pub const COMPACT_EVERY_SECONDS: u64 = 3600;

/// Compacts `files` every `every_seconds` until `stop` is cancelled.
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
                Ok(pages) => tracing::info!(file = file.name(), pages, "compacted database file"),
                Err(error) => {
                    tracing::warn!(file = file.name(), error = &error as &dyn std::error::Error, "compaction failed")
                }
            }
        }
        last = Instant::now();
    }
}
