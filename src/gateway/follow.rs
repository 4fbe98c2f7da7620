//! Takes the gateway's nodes from the fleet registry.
//!
//! A node that passes its health checks stays while it is missing from the registry. So neither an outage of the registry nor
//! a registry that lost its data takes the service down.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use symbolon_balancer::{Algorithm, Node, NodeSpec};
use tokio_util::sync::CancellationToken;

use super::Gateway;
use crate::{
    fleet::{FleetView, FleetWatch},
    ticks::Ticks,
};

/// Interval of registry reads. A draining instance still accepts requests for at least two of them.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Applies changes of the fleet to the gateway.
#[derive(Debug, Clone)]
pub(super) struct Follower {
    gateway: Gateway,
    fleet: FleetWatch,
    /// Algorithm from the settings, used while no operator has chosen one for the fleet.
    default_algorithm: Algorithm,
    /// Algorithm that an operator chose for the fleet, at the last read.
    operator_algorithm: Option<Algorithm>,
    /// Ids of the nodes that operators had added, at the last read.
    operator_nodes: BTreeSet<String>,
}

impl Follower {
    pub(super) fn new(gateway: Gateway, fleet: FleetWatch) -> Self {
        let default_algorithm = gateway.0.nodes.balancer.algorithm();
        Self { gateway, fleet, default_algorithm, operator_algorithm: None, operator_nodes: BTreeSet::new() }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = Ticks::every(POLL_INTERVAL);
        let mut unavailable = false;
        while ticks.next_until(&stop).await {
            match self.fleet.refresh().await {
                Ok(view) => {
                    if std::mem::take(&mut unavailable) {
                        tracing::info!("fleet registry available again");
                    }
                    self.apply(&view);
                }
                Err(error) if !unavailable => {
                    unavailable = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "fleet registry unavailable; keeping the last known nodes"
                    );
                }
                Err(_) => {}
            }
        }
    }

    fn apply(&mut self, view: &FleetView) {
        let (nodes, now) = (&self.gateway.0.nodes, Instant::now());
        let known = nodes.balancer.nodes();
        let specs = specs(&known, view, &self.operator_nodes);
        if !known.iter().map(|node| node.spec()).eq(&specs) {
            nodes.set(specs);
        }
        for (id, node) in view.nodes() {
            nodes.balancer.set_draining(&id, node.is_draining(), now);
        }
        self.operator_nodes = view.balancing.added.keys().cloned().collect();
        if self.operator_algorithm != view.balancing.algorithm {
            self.operator_algorithm = view.balancing.algorithm;
            nodes.balancer.set_algorithm(self.operator_algorithm.unwrap_or(self.default_algorithm), now);
        }
    }
}

/// Returns the new nodes, sorted by id: those of the fleet, and known nodes that are healthy, do not drain, and were not
/// removed by an operator.
fn specs(known: &[Arc<Node>], view: &FleetView, added_before: &BTreeSet<String>) -> Vec<NodeSpec> {
    let mut nodes = view.nodes();
    nodes.retain(|_, node| !node.removed);
    let was_removed = |id: &String| view.balancing.removed.contains(id) || added_before.contains(id);
    let stays = |node: &&Arc<Node>| {
        let (stats, id) = (node.stats(), &node.spec().id);
        let is_available = stats.healthy && stats.checked_at.is_some() && !stats.draining;
        is_available && !nodes.contains_key(id) && !was_removed(id)
    };
    let unregistered: Vec<NodeSpec> = known.iter().filter(stays).map(|node| node.spec().clone()).collect();
    let mut specs: Vec<NodeSpec> = nodes.into_values().map(|node| node.spec).chain(unregistered).collect();
    specs.sort_by(|a, b| a.id.cmp(&b.id));
    specs
}

#[cfg(test)]
mod tests {
    use symbolon_balancer::{Balancer, Policy};

    use super::*;

    fn spec(id: &str) -> NodeSpec {
        NodeSpec {
            id: id.to_owned(),
            url: format!("http://{id}"),
            weight: 1,
            max_connections: 10,
            region: String::new(),
            zone: String::new(),
        }
    }

    #[test]
    fn a_healthy_node_stays_while_it_is_missing_from_the_registry() {
        let now = Instant::now();
        let balancer = Balancer::new(Algorithm::RoundRobin, Policy::default(), now);
        balancer.set_nodes(["added", "fails", "leaves", "new", "out", "stays"].map(spec), now);
        for (id, healthy) in [("added", true), ("fails", false), ("leaves", true), ("out", true), ("stays", true)] {
            balancer.set_healthy(id, healthy, now);
        }
        balancer.set_draining("leaves", true, now);
        let mut view = FleetView::default();
        view.balancing.removed.insert("out".to_owned());
        let left = specs(&balancer.nodes(), &view, &["added".to_owned()].into());
        assert_eq!(left.iter().map(|spec| spec.id.as_str()).collect::<Vec<_>>(), ["stays"]);
    }
}
