//! What Redis is set up to keep. How far an acknowledged logout survives Redis' own faults depends on Redis, so a start
//! says what could be lost, and how to keep it.

use std::collections::{BTreeSet, HashMap};

use fred::{error::Error, types::Value};

use super::{
    connection::Command,
    node::{Node, is_down},
    nodes::Nodes,
};

/// Says in the log what the servers are set up to lose, or that they don't tell.
///
/// # Errors
/// If one of them does not answer; then nothing is said.
pub(super) async fn warn_about_data_loss(nodes: &Nodes, waited_for: u32) -> Result<(), Error> {
    match risks(nodes, waited_for).await {
        Ok(risks) => risks.into_iter().for_each(|risk| tracing::warn!("Redis: {risk}")),
        Err(error) if is_down(&error) => return Err(error),
        Err(error) => tracing::info!(%error, "Redis does not tell its settings: what it would lose is not known"),
    }
    Ok(())
}

/// What the settings of the servers mean for sessions, one sentence each; empty if nothing can be lost. Endings are
/// acknowledged once so many `waited_for` replicas have them.
async fn risks(nodes: &Nodes, waited_for: u32) -> Result<BTreeSet<&'static str>, Error> {
    let nodes = nodes.all();
    let all = futures_util::future::try_join_all(nodes.iter().map(|node| of_node(node, waited_for))).await?;
    Ok(all.into_iter().flatten().collect())
}

async fn of_node(node: &Node, waited_for: u32) -> Result<Vec<&'static str>, Error> {
    let names = ["maxmemory-policy", "appendonly", "appendfsync", "save", "min-replicas-to-write"];
    let questions = names.map(|name| Command::new("CONFIG", ["GET", name]));
    let answers = node.ask(questions.into_iter().chain([Command::new("INFO", ["replication"])]).collect()).await?;
    let mut settings = HashMap::<String, String>::new();
    let mut replication = String::new();
    for answer in answers {
        match answer {
            Value::Array(_) | Value::Map(_) => settings.extend(answer.convert::<HashMap<String, String>>()?),
            answer => replication = answer.convert()?,
        }
    }
    let replicas = replication.lines().find_map(|line| line.strip_prefix("connected_slaves:")?.trim().parse().ok());
    Ok(judge(&settings, replicas.unwrap_or(0), waited_for))
}

fn judge(settings: &HashMap<String, String>, replicas: u32, waited_for: u32) -> Vec<&'static str> {
    let of = |name: &str| settings.get(name).map(String::as_str).unwrap_or_default();
    let mut risks = Vec::new();
    if !matches!(of("maxmemory-policy"), "noeviction" | "") {
        risks.push("maxmemory-policy evicts keys: sessions may end early; set it to noeviction");
    }
    if of("appendonly") != "yes" {
        if of("save").is_empty() {
            risks.push("nothing is persisted: a restart of Redis ends all sessions; set appendonly to yes");
        } else {
            risks.push(
                "only snapshots are persisted: a crash of Redis can undo logouts of minutes; set appendonly to yes",
            );
        }
    } else if of("appendfsync") != "always" {
        risks.push("appendfsync is not always: a crash of Redis can undo the logouts of its last second");
    }
    if replicas > 0 && waited_for == 0 {
        risks
            .push("redis_wait_replicas is 0: a failover can undo logouts that no replica had yet; set it to 1 or more");
    }
    if replicas > 0 && matches!(of("min-replicas-to-write"), "0" | "") {
        risks.push(
            "min-replicas-to-write is 0: a primary that was replaced without knowing it goes on taking writes, which \
             are lost; set it to 1 or more",
        );
    }
    if replicas < waited_for {
        risks.push("there are fewer replicas than redis_wait_replicas: no logout is acknowledged");
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
        judge(&settings.iter().map(own).collect(), replicas, waited_for).len()
    }

    #[test]
    fn a_server_that_loses_nothing_is_not_complained_of() {
        assert_eq!(risks(&SAFE, 0, 0), 0);
        let replicated = [("min-replicas-to-write", "1")].iter().chain(&SAFE).copied().collect::<Vec<_>>();
        assert_eq!(risks(&replicated, 1, 1), 0);
    }

    #[test]
    fn with_replicas_a_failover_loses_what_nothing_waited_for() {
        assert_eq!(risks(&SAFE, 1, 0), 2);
        assert_eq!(risks(&SAFE, 1, 1), 1);
        assert_eq!(risks(&SAFE, 0, 1), 1);
    }

    #[test]
    fn each_way_to_lose_sessions_is_named() {
        assert_eq!(risks(&[("maxmemory-policy", "allkeys-lru"), ("appendonly", "no"), ("save", "")], 0, 0), 2);
        assert_eq!(risks(&[("appendonly", "no"), ("save", "3600 1")], 0, 0), 1);
        assert_eq!(risks(&[("appendonly", "yes"), ("appendfsync", "everysec")], 0, 0), 1);
    }
}
