//! Session totals at a cost that does not depend on their number: few keys are counted, many are sampled.

use std::collections::HashSet;

use fred::{
    error::Error,
    types::{FromValue, Value},
};
use futures_util::future::try_join_all;

use super::{
    command::Command,
    keys::{PREFIX, is_session},
    node::Node,
    nodes::Nodes,
};
use crate::shared_store::{Accuracy, SessionTotals};

/// Maximum number of keys of a server that are counted instead of sampled.
const MAX_COUNTED: u64 = 1000;
/// Number of keys sampled on a larger server.
const SAMPLE_SIZE: usize = 200;

/// Returns the totals of all servers.
pub(super) async fn session_totals(nodes: &Nodes) -> Result<SessionTotals, Error> {
    let nodes = nodes.all();
    let parts = try_join_all(nodes.iter().map(|node| node_totals(node))).await?;
    let estimated = parts.iter().any(|part| part.accuracy == Accuracy::Estimate);
    Ok(SessionTotals {
        sessions: parts.iter().map(|part| part.sessions).sum(),
        bytes: parts.iter().map(|part| part.bytes).sum(),
        accuracy: if estimated { Accuracy::Estimate } else { Accuracy::UpperBound },
    })
}

async fn node_totals(node: &Node) -> Result<SessionTotals, Error> {
    let keys: u64 = one(node, Command::bare("DBSIZE")).await?;
    let (examined, accuracy) = if keys <= MAX_COUNTED {
        (all_keys(node).await?, Accuracy::UpperBound)
    } else {
        let sample = all::<Option<String>>(node, (0..SAMPLE_SIZE).map(|_| Command::bare("RANDOMKEY"))).await?;
        (sample.into_iter().flatten().collect(), Accuracy::Estimate)
    };
    let sessions: Vec<&String> = examined.iter().filter(|key| is_session(key)).collect();
    let sizes = sessions.iter().map(|key| Command::new("MEMORY", ["USAGE", key.as_str()]));
    let bytes: u64 = all::<Option<u64>>(node, sizes).await?.into_iter().flatten().sum();
    let scale = match accuracy {
        Accuracy::Estimate => keys as f64 / examined.len().max(1) as f64,
        Accuracy::UpperBound => 1.0,
    };
    let scaled = |count: u64| (count as f64 * scale).round() as u64;
    Ok(SessionTotals { sessions: scaled(sessions.len() as u64), bytes: scaled(bytes), accuracy })
}

async fn all_keys(node: &Node) -> Result<Vec<String>, Error> {
    let mut keys = HashSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let page = Command::new("SCAN", [cursor.as_str(), "MATCH", &format!("{PREFIX}*"), "COUNT", "500"]);
        let (next, found): (String, Vec<String>) = one(node, page).await?;
        keys.extend(found);
        if next == "0" {
            return Ok(keys.into_iter().collect());
        }
        cursor = next;
    }
}

async fn one<T: FromValue>(node: &Node, command: Command) -> Result<T, Error> {
    node.send_all(vec![command]).await?.pop().unwrap_or(Value::Null).convert()
}

async fn all<T: FromValue>(node: &Node, commands: impl Iterator<Item = Command>) -> Result<Vec<T>, Error> {
    node.send_all(commands.collect()).await?.into_iter().map(Value::convert).collect()
}
