//! Prints how many queries are sent for 10,000 lookups, by the number of concurrent clients.
//!
//! `cargo run -p symbolon-batcher --example savings`

use std::{sync::Arc, time::Duration};

use symbolon_batcher::{BatchLimits, BatchTiming, Batcher};
use tokio::{task::JoinSet, time::sleep};

const LOOKUPS: u64 = 10_000;
const QUERY_TIME: Duration = Duration::from_millis(1);

type Rows = Result<Vec<(u64, u64)>, std::io::ErrorKind>;

async fn query(keys: Vec<u64>) -> Rows {
    sleep(QUERY_TIME).await;
    Ok(keys.into_iter().map(|key| (key, key)).collect())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:>8}{:>10}{:>16}{:>12}", "clients", "queries", "lookups/query", "mean wait");
    for clients in [1, 4, 16, 64, 256] {
        let limits = BatchLimits { max_in_flight: 2, max_keys: 64 };
        let timing = BatchTiming { timeout: Duration::from_secs(5), yields: 1 };
        let batcher: Arc<Batcher<u64, u64, std::io::ErrorKind>> = Arc::new(Batcher::new(limits, timing));
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let batcher = Arc::clone(&batcher);
            tasks.spawn(async move {
                for lookup in 0..LOOKUPS / clients {
                    let row = batcher.find(client * LOOKUPS + lookup, |keys, _| query(keys)).await;
                    assert!(row.is_ok(), "a lookup failed: {row:?}");
                }
            });
        }
        while let Some(finished) = tasks.join_next().await {
            finished?;
        }
        let stats = batcher.stats();
        let lookups_per_query = stats.sent as f64 / stats.batches as f64;
        println!("{clients:>8}{:>10}{lookups_per_query:>16.1}{:>12.1?}", stats.batches, stats.mean_wait());
    }
    Ok(())
}
