//! Keeps the gateway's nodes those of the fleet.
//!
//! Nothing that the registry does not say takes a node away that answers its health checks: not a registry that is lost,
//! nor one that has come back empty.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::Gateway;
use crate::{
    balancer::{Node, NodeSpec},
    clock::Timestamp,
    fleet::GONE_AFTER,
    shared_store::{InstanceRecord, SharedStore},
    store_error::StoreError,
};

/// How often the registry is read: twice before an instance that drains stops to take requests.
const POLL: Duration = Duration::from_millis(500);

/// Follows the registry until `stop`.
pub(super) async fn run(gateway: Gateway, store: Arc<dyn SharedStore>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut lost = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match read(&*store).await {
            Ok(records) => {
                if std::mem::take(&mut lost) {
                    tracing::info!("the fleet's registry answers again");
                }
                apply(&gateway, records);
            }
            Err(error) if !lost => {
                lost = true;
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the fleet's registry does not answer: its last known nodes stay"
                );
            }
            Err(_) => {}
        }
    }
}

async fn read(store: &dyn SharedStore) -> Result<Vec<InstanceRecord>, StoreError> {
    let since = Timestamp::from_millis(Timestamp::now().millis() - GONE_AFTER.as_millis() as i64);
    Ok(store.instances(since).await?.into_values().map(|(record, _)| record).collect())
}

fn apply(gateway: &Gateway, records: Vec<InstanceRecord>) {
    let nodes = &gateway.0.nodes;
    let known = nodes.balancer.nodes();
    let specs = specs(&known, &records);
    if !known.iter().map(|node| node.spec()).eq(&specs) {
        nodes.set(specs);
    }
    for record in records {
        nodes.balancer.set_draining(&record.id, record.draining, std::time::Instant::now());
    }
}

/// The nodes from now on, by id: those that are registered, and known ones that answer their checks and don't leave.
fn specs(known: &[Arc<Node>], records: &[InstanceRecord]) -> Vec<NodeSpec> {
    let is_registered = |node: &&Arc<Node>| records.iter().any(|record| record.id == node.spec().id);
    let stays = |node: &&Arc<Node>| {
        let stats = node.stats();
        stats.healthy && stats.checked_at.is_some() && !stats.draining
    };
    let unregistered = known.iter().filter(|node| !is_registered(node) && stays(node)).map(|node| node.spec().clone());
    let mut specs: Vec<NodeSpec> = records.iter().map(spec).chain(unregistered).collect();
    specs.sort_by(|a, b| a.id.cmp(&b.id));
    specs
}

fn spec(record: &InstanceRecord) -> NodeSpec {
    NodeSpec {
        id: record.id.clone(),
        url: record.url.clone(),
        weight: record.weight,
        max_connections: u32::try_from(record.max_connections).unwrap_or(u32::MAX),
        region: record.region.clone(),
        zone: record.zone.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::balancer::{Algorithm, Balancer, Policy};

    fn record(id: &str) -> InstanceRecord {
        InstanceRecord {
            id: id.to_owned(),
            url: format!("http://{id}"),
            weight: 1,
            region: String::new(),
            zone: String::new(),
            version: String::new(),
            draining: false,
            current_connections: 0,
            max_connections: 10,
            average_response_time: 0.0,
        }
    }

    #[test]
    fn a_node_that_answers_stays_though_the_registry_forgets_it() {
        let now = Instant::now();
        let balancer = Balancer::new(Algorithm::RoundRobin, Policy::default(), now);
        let ids = ["fails", "leaves", "new", "stays"];
        balancer.set_nodes(ids.iter().map(|id| spec(&record(id))), now);
        for (id, healthy) in [("fails", false), ("leaves", true), ("stays", true)] {
            balancer.set_healthy(id, healthy, now);
        }
        balancer.set_draining("leaves", true, now);
        let left: Vec<String> = specs(&balancer.nodes(), &[record("other")]).into_iter().map(|spec| spec.id).collect();
        assert_eq!(left, ["other", "stays"]);
    }
}
