//! How many sessions there are, at a cost that does not depend on it: a small server is counted, a large one sampled.

use std::collections::HashSet;

use fred::{
    clients::Client,
    error::Error,
    interfaces::{ClientLike, ClusterInterface, KeysInterface, MemoryInterface, ServerInterface},
    types::Value,
};
use futures_util::future::try_join_all;

use super::PREFIX;
use crate::shared_store::{Accuracy, SessionTotals};

/// A server with no more keys than this is counted.
const COUNTED: u64 = 1000;
/// How many keys of a larger one are looked at.
const SAMPLE: usize = 200;

/// The totals of all servers.
pub(super) async fn of(client: &Client) -> Result<SessionTotals, Error> {
    let parts = if client.is_clustered() {
        let state = client.cached_cluster_state();
        let primaries = state.map(|state| state.unique_primary_nodes()).unwrap_or_default();
        try_join_all(primaries.into_iter().map(async |server| of_server(&client.with_cluster_node(server)).await))
            .await?
    } else {
        vec![of_server(client).await?]
    };
    let estimated = parts.iter().any(|part| part.accuracy == Accuracy::Estimate);
    Ok(SessionTotals {
        sessions: parts.iter().map(|part| part.sessions).sum(),
        bytes: parts.iter().map(|part| part.bytes).sum(),
        accuracy: if estimated { Accuracy::Estimate } else { Accuracy::UpperBound },
    })
}

async fn of_server<C>(server: &C) -> Result<SessionTotals, Error>
where
    C: KeysInterface + ServerInterface + MemoryInterface + Sync,
{
    let keys: u64 = server.dbsize().await?;
    let (looked_at, accuracy) = if keys <= COUNTED {
        (all_keys(server).await?, Accuracy::UpperBound)
    } else {
        let sample = (0..SAMPLE).map(|_| server.randomkey::<Option<String>>());
        (try_join_all(sample).await?.into_iter().flatten().collect(), Accuracy::Estimate)
    };
    let sessions: Vec<&String> = looked_at.iter().filter(|key| is_session(key)).collect();
    let sizes = sessions.iter().map(|key| server.memory_usage::<Option<u64>, _>(key.as_str(), None));
    let bytes: u64 = try_join_all(sizes).await?.into_iter().flatten().sum();
    let scale = match accuracy {
        Accuracy::Estimate => keys as f64 / looked_at.len().max(1) as f64,
        Accuracy::UpperBound => 1.0,
    };
    let scaled = |count: u64| (count as f64 * scale).round() as u64;
    Ok(SessionTotals { sessions: scaled(sessions.len() as u64), bytes: scaled(bytes), accuracy })
}

async fn all_keys<C: KeysInterface + Sync>(server: &C) -> Result<Vec<String>, Error> {
    let mut keys = HashSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let page: Value = server.scan_page(cursor, format!("{PREFIX}*"), Some(500), None).await?;
        let (next, found): (String, Vec<String>) = page.convert()?;
        keys.extend(found);
        if next == "0" {
            return Ok(keys.into_iter().collect());
        }
        cursor = next;
    }
}

fn is_session(key: &str) -> bool {
    key.starts_with(PREFIX) && key.contains("}:session:")
}
