//! Checks of the durability settings of Redis. Whether an acknowledged logout survives a failure of Redis depends on them, so
//! each start logs what could be lost and how to prevent it.

use std::collections::{BTreeSet, HashMap};

use fred::{error::Error, types::Value};

use super::{command::Command, errors::is_down, node::Node, nodes::Nodes};

/// Logs which data the servers may lose with their settings, or that the settings can't be read.
///
/// # Errors
/// Fails without logging anything if a server does not answer.
pub(super) async fn warn_about_data_loss(nodes: &Nodes, waited_for: u32) -> Result<(), Error> {
    match risks(nodes, waited_for).await {
        Ok(risks) => risks.into_iter().for_each(|risk| tracing::warn!("Redis: {risk}")),
        Err(error) if is_down(&error) => return Err(error),
        Err(error) => tracing::info!(%error, "cannot read the settings of Redis; data that it may lose is unknown"),
    }
    Ok(())
}

/// Returns a sentence for each way to lose data; empty if nothing can be lost. `waited_for` is the number of replicas that must
/// confirm the end of a session.
async fn risks(nodes: &Nodes, waited_for: u32) -> Result<BTreeSet<&'static str>, Error> {
    let nodes = nodes.all();
    let all = futures_util::future::try_join_all(nodes.iter().map(|node| node_risks(node, waited_for))).await?;
    Ok(all.into_iter().flatten().collect())
}

async fn node_risks(node: &Node, waited_for: u32) -> Result<Vec<&'static str>, Error> {
    let names = ["maxmemory-policy", "appendonly", "appendfsync", "save", "min-replicas-to-write"];
    let queries = names.map(|name| Command::new("CONFIG", ["GET", name]));
    let answers = node.send_all(queries.into_iter().chain([Command::new("INFO", ["replication"])]).collect()).await?;
    let mut settings = HashMap::<String, String>::new();
    let mut replication = String::new();
    for answer in answers {
        match answer {
            Value::Array(_) | Value::Map(_) => settings.extend(answer.convert::<HashMap<String, String>>()?),
            answer => replication = answer.convert()?,
        }
    }
    let replicas = replication.lines().find_map(|line| line.strip_prefix("connected_slaves:")?.trim().parse().ok());
    Ok(risks_of(&settings, replicas.unwrap_or(0), waited_for))
}

fn risks_of(settings: &HashMap<String, String>, replicas: u32, waited_for: u32) -> Vec<&'static str> {
    let setting = |name: &str| settings.get(name).map(String::as_str).unwrap_or_default();
    let mut risks = Vec::new();
    if !matches!(setting("maxmemory-policy"), "noeviction" | "") {
        risks.push("maxmemory-policy evicts keys: sessions may end early; set it to noeviction");
    }
    if setting("appendonly") != "yes" {
        if setting("save").is_empty() {
            risks.push("nothing is persisted: a restart of Redis ends all sessions; set appendonly to yes");
        } else {
            risks.push(
                "only snapshots are persisted: a crash of Redis can undo the logouts of several minutes; set appendonly to yes",
            );
        }
    } else if setting("appendfsync") != "always" {
        risks.push("appendfsync is not always: a crash of Redis can undo the logouts of its last second");
    }
    if replicas > 0 && waited_for == 0 {
        risks.push(
            "redis_wait_replicas is 0: a failover can undo logouts that had not reached a replica; set it to 1 or more",
        );
    }
    if replicas > 0 && matches!(setting("min-replicas-to-write"), "0" | "") {
        risks.push(
            "min-replicas-to-write is 0: a primary that was replaced without noticing accepts writes, which are lost; set \
             it to 1 or more",
        );
    }
    if replicas < waited_for {
        risks.push(
            "there are fewer replicas than redis_wait_replicas: no logout is acknowledged; add replicas or lower it",
        );
    }
    risks
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: [(&str, &str); 3] =
        [("maxmemory-policy", "noeviction"), ("appendonly", "yes"), ("appendfsync", "always")];

    fn risks(settings: &[(&str, &str)], replicas: u32, waited_for: u32) -> usize {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        risks_of(&settings.iter().map(own).collect(), replicas, waited_for).len()
    }

    #[test]
    fn durable_settings_have_no_risks() {
        assert_eq!(risks(&SAFE, 0, 0), 0);
        let replicated = [("min-replicas-to-write", "1")].iter().chain(&SAFE).copied().collect::<Vec<_>>();
        assert_eq!(risks(&replicated, 1, 1), 0);
    }

    #[test]
    fn replicas_without_wait_are_a_risk() {
        assert_eq!(risks(&SAFE, 1, 0), 2);
        assert_eq!(risks(&SAFE, 1, 1), 1);
        assert_eq!(risks(&SAFE, 0, 1), 1);
    }

    #[test]
    fn eviction_and_missing_persistence_are_risks() {
        assert_eq!(risks(&[("maxmemory-policy", "allkeys-lru"), ("appendonly", "no"), ("save", "")], 0, 0), 2);
        assert_eq!(risks(&[("appendonly", "no"), ("save", "3600 1")], 0, 0), 1);
        assert_eq!(risks(&[("appendonly", "yes"), ("appendfsync", "everysec")], 0, 0), 1);
    }
}
