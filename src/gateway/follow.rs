//! Keeps the gateway's nodes those of the fleet.
//!
//! Nothing that the registry does not say takes a node away that answers its health checks: not a registry that is lost,
//! nor one that has come back empty.

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

/// How often the registry is read: twice before an instance that drains stops to take requests.
const POLL: Duration = Duration::from_millis(500);

/// Keeps up with the fleet.
#[derive(Debug, Clone)]
pub(super) struct Follower {
    gateway: Gateway,
    fleet: FleetWatch,
    /// By what nodes are picked as long as no operator chose otherwise.
    algorithm: Algorithm,
    /// What operators chose when last seen.
    chosen: Option<Algorithm>,
    /// The nodes that operators had added when last seen.
    added: BTreeSet<String>,
}

impl Follower {
    pub(super) fn new(gateway: Gateway, fleet: FleetWatch) -> Self {
        let algorithm = gateway.0.nodes.balancer.algorithm();
        Self { gateway, fleet, algorithm, chosen: None, added: BTreeSet::new() }
    }

    /// Follows until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = Ticks::every(POLL);
        let mut lost = false;
        while ticks.next_until(&stop).await {
            match self.fleet.refresh().await {
                Ok(view) => {
                    if std::mem::take(&mut lost) {
                        tracing::info!("the fleet's registry answers again");
                    }
                    self.apply(&view);
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

    fn apply(&mut self, view: &FleetView) {
        let (nodes, now) = (&self.gateway.0.nodes, Instant::now());
        let known = nodes.balancer.nodes();
        let specs = specs(&known, view, &self.added);
        if !known.iter().map(|node| node.spec()).eq(&specs) {
            nodes.set(specs);
        }
        for (id, node) in view.nodes() {
            nodes.balancer.set_draining(&id, node.is_draining(), now);
        }
        self.added = view.balancing.added.keys().cloned().collect();
        if self.chosen != view.balancing.algorithm {
            self.chosen = view.balancing.algorithm;
            nodes.balancer.set_algorithm(self.chosen.unwrap_or(self.algorithm), now);
        }
    }
}

/// The nodes from now on, by id: those of the fleet, and known ones that answer their checks, don't leave, and that no
/// operator took out.
fn specs(known: &[Arc<Node>], view: &FleetView, added_before: &BTreeSet<String>) -> Vec<NodeSpec> {
    let mut nodes = view.nodes();
    nodes.retain(|_, node| !node.removed);
    let was_taken_out = |id: &String| view.balancing.removed.contains(id) || added_before.contains(id);
    let stays = |node: &&Arc<Node>| {
        let (stats, id) = (node.stats(), &node.spec().id);
        let is_well = stats.healthy && stats.checked_at.is_some() && !stats.draining;
        is_well && !nodes.contains_key(id) && !was_taken_out(id)
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
    fn a_node_that_answers_stays_though_the_registry_forgets_it() {
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
