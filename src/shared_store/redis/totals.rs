//! How many sessions there are, at a cost that does not depend on it: a small server is counted, a large one sampled.

use std::collections::HashSet;

use fred::{
    error::Error,
    types::{FromValue, Value},
};
use futures_util::future::try_join_all;

use super::{PREFIX, connection::Command, node::Node, nodes::Nodes};
use crate::shared_store::{Accuracy, SessionTotals};

/// A server with no more keys than this is counted.
const COUNTED: u64 = 1000;
/// How many keys of a larger one are looked at.
const SAMPLE: usize = 200;

/// The totals of all servers.
pub(super) async fn of(nodes: &Nodes) -> Result<SessionTotals, Error> {
    let nodes = nodes.all();
    let parts = try_join_all(nodes.iter().map(|node| of_node(node))).await?;
    let estimated = parts.iter().any(|part| part.accuracy == Accuracy::Estimate);
    Ok(SessionTotals {
        sessions: parts.iter().map(|part| part.sessions).sum(),
        bytes: parts.iter().map(|part| part.bytes).sum(),
        accuracy: if estimated { Accuracy::Estimate } else { Accuracy::UpperBound },
    })
}

async fn of_node(node: &Node) -> Result<SessionTotals, Error> {
    let keys: u64 = one(node, Command::bare("DBSIZE")).await?;
    let (looked_at, accuracy) = if keys <= COUNTED {
        (all_keys(node).await?, Accuracy::UpperBound)
    } else {
        let sample = all::<Option<String>>(node, (0..SAMPLE).map(|_| Command::bare("RANDOMKEY"))).await?;
        (sample.into_iter().flatten().collect(), Accuracy::Estimate)
    };
    let sessions: Vec<&String> = looked_at.iter().filter(|key| is_session(key)).collect();
    let sizes = sessions.iter().map(|key| Command::new("MEMORY", ["USAGE", key.as_str()]));
    let bytes: u64 = all::<Option<u64>>(node, sizes).await?.into_iter().flatten().sum();
    let scale = match accuracy {
        Accuracy::Estimate => keys as f64 / looked_at.len().max(1) as f64,
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
    node.ask(vec![command]).await?.pop().unwrap_or(Value::Null).convert()
}

async fn all<T: FromValue>(node: &Node, commands: impl Iterator<Item = Command>) -> Result<Vec<T>, Error> {
    node.ask(commands.collect()).await?.into_iter().map(Value::convert).collect()
}

fn is_session(key: &str) -> bool {
    key.starts_with(PREFIX) && key.contains("}:session:")
}
