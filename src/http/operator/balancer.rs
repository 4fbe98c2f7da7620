//! The nodes that the fleet's gateways balance over: their load, and the changes that operators made.

pub(super) mod algorithm;
mod new_node;
pub(super) mod nodes;

use axum::extract::State;
use serde::Serialize;
use symbolon_balancer::Algorithm;

use crate::{
    app::App,
    clock::Timestamp,
    fleet::{FleetNode, FleetSnapshot},
    http::json::Json,
    web::problem::Problem,
};

/// Load-balancing statistics of the whole fleet.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BalancerStats {
    /// Number of nodes: instances, and nodes that an operator added.
    #[schema(example = 2)]
    total_nodes: usize,
    /// Number of nodes that accept requests.
    #[schema(example = 2)]
    healthy_nodes: usize,
    /// Id of the instance that sent this response.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    answered_by: String,
    /// Algorithm chosen by an operator; null if each gateway uses its own setting.
    algorithm: Option<Algorithm>,
    /// Id of the instance that makes decisions for the fleet; null if there is none at the moment, or it is unknown.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    leader: Option<String>,
    /// Whether the fleet registry is unavailable. The other instances are then shown as last known.
    stale: bool,
    /// Time of the last successful read of the registry; null if there was none.
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-11-22T12:00:00Z")]
    as_of: Option<Timestamp>,
    /// All nodes, sorted by id.
    nodes: Vec<NodeView>,
}

/// An instance, or a node that an operator added. An added node sends no heartbeats; its load is shown as 0.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = BalancerNode)]
pub struct NodeView {
    /// Id of the node.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    id: String,
    /// Base URL of the node.
    #[schema(example = "http://127.0.0.1:8080")]
    url: String,
    /// Whether the node accepts requests: an instance with recent heartbeats that is not draining, or an added node. False
    /// if an operator removed it.
    is_healthy: bool,
    /// Whether an operator added the node.
    added: bool,
    /// Whether an operator removed the node.
    removed: bool,
    /// Whether the node is draining before it stops.
    draining: bool,
    /// Requests in flight.
    #[schema(example = 3)]
    current_connections: u64,
    /// Maximum number of requests in flight.
    #[schema(example = 1000)]
    max_connections: u64,
    /// Moving average of the time from a request's arrival to the end of its response, in seconds.
    #[schema(example = 0.0021)]
    average_response_time: f64,
    /// Share of the traffic, relative to the other nodes.
    #[schema(example = 1)]
    weight: u32,
    /// Region of the node.
    #[schema(example = "default")]
    region: String,
    /// Zone of the node.
    #[schema(example = "default")]
    zone: String,
    /// Version of the software; null if the node is not an instance.
    #[schema(example = "0.1.0")]
    version: Option<String>,
    /// Time of the last heartbeat; null if the node is not an instance.
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-11-22T12:00:00Z")]
    last_health_check: Option<Timestamp>,
}

impl From<FleetNode> for NodeView {
    fn from(node: FleetNode) -> Self {
        let (is_healthy, draining) = (node.takes_requests(), node.is_draining());
        let last_health_check = node.instance.as_ref().map(|instance| instance.seen_at);
        let record = node.instance.map(|instance| instance.record);
        Self {
            id: node.spec.id,
            url: node.spec.url,
            is_healthy,
            added: node.added,
            removed: node.removed,
            draining,
            current_connections: record.as_ref().map_or(0, |record| record.current_connections),
            max_connections: u64::from(node.spec.max_connections),
            average_response_time: record.as_ref().map_or(0.0, |record| record.average_response_time),
            weight: node.spec.weight,
            region: node.spec.region,
            zone: node.spec.zone,
            version: record.map(|record| record.version),
            last_health_check,
        }
    }
}

/// Returns the nodes that the fleet's gateways balance over, with their load.
#[utoipa::path(
    get, path = "/v1/operator/balancer", tag = "operator", operation_id = "balancer",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "Statistics of the nodes.", body = BalancerStats))
)]
pub(in crate::http) async fn balancer(State(app): State<App>) -> Result<Json<BalancerStats>, Problem> {
    let FleetSnapshot { view, stale } = app.fleet().refresh().await?;
    let nodes: Vec<NodeView> = view.nodes().into_values().map(NodeView::from).collect();
    Ok(Json(BalancerStats {
        total_nodes: nodes.len(),
        healthy_nodes: nodes.iter().filter(|node| node.is_healthy).count(),
        answered_by: app.fleet().own().spec().id.clone(),
        algorithm: view.balancing.algorithm,
        leader: view.leader,
        stale,
        as_of: view.as_of,
        nodes,
    }))
}
