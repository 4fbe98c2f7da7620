//! What Redis is set up to keep. How far an acknowledged logout survives Redis' own faults depends on Redis, so a start
//! says what could be lost, and how to keep it.

use std::collections::HashMap;

use fred::{
    clients::Client,
    error::Error,
    interfaces::{ClientLike, ConfigInterface},
    types::InfoKind,
};

/// What the settings of a Redis server mean for sessions, one sentence each; empty if nothing can be lost.
pub(super) async fn risks(client: &Client) -> Result<Vec<&'static str>, Error> {
    let mut settings = HashMap::<String, String>::new();
    for name in ["maxmemory-policy", "appendonly", "appendfsync", "save", "min-replicas-to-write"] {
        settings.extend(client.config_get::<HashMap<String, String>, _>(name).await?);
    }
    let replication: String = client.info(Some(InfoKind::Replication)).await?;
    let replicas = replication.lines().find_map(|line| line.strip_prefix("connected_slaves:")?.trim().parse().ok());
    Ok(judge(&settings, replicas.unwrap_or(0)))
}

fn judge(settings: &HashMap<String, String>, replicas: u32) -> Vec<&'static str> {
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
    if replicas > 0 && matches!(of("min-replicas-to-write"), "0" | "") {
        risks.push("min-replicas-to-write is 0: a failover can undo logouts that no replica had; set it to 1 or more");
    }
    risks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn risks(settings: &[(&str, &str)], replicas: u32) -> usize {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        judge(&settings.iter().map(own).collect(), replicas).len()
    }

    #[test]
    fn a_server_that_loses_nothing_is_not_complained_of() {
        let safe = [("maxmemory-policy", "noeviction"), ("appendonly", "yes"), ("appendfsync", "always")];
        assert_eq!(risks(&safe, 0), 0);
        assert_eq!(risks(&safe, 1), 1);
        assert_eq!(risks(&[("min-replicas-to-write", "1")].iter().chain(&safe).copied().collect::<Vec<_>>(), 1), 0);
    }

    #[test]
    fn each_way_to_lose_sessions_is_named() {
        assert_eq!(risks(&[("maxmemory-policy", "allkeys-lru"), ("appendonly", "no"), ("save", "")], 0), 2);
        assert_eq!(risks(&[("appendonly", "no"), ("save", "3600 1")], 0), 1);
        assert_eq!(risks(&[("appendonly", "yes"), ("appendfsync", "everysec")], 0), 1);
    }
}
