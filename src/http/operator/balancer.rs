//! What the fleet's gateways balance over: the instances and how busy each is, and what operators made of them.

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

/// The seed's balancer statistics, over the whole fleet.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BalancerStats {
    /// How many nodes there are: instances, and nodes that an operator added.
    #[schema(example = 2)]
    total_nodes: usize,
    /// How many of them take requests.
    #[schema(example = 2)]
    healthy_nodes: usize,
    /// The instance that answers.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    answered_by: String,
    /// The algorithm that an operator chose; null where the setting of each gateway holds.
    algorithm: Option<Algorithm>,
    /// The instance that decides for all; null if none does just now, or if that can't be told.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    leader: Option<String>,
    /// Whether the registry does not answer, so that all but the instance that answers is as it was last known.
    stale: bool,
    /// When the registry told this; null if it never has.
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-11-22T12:00:00Z")]
    as_of: Option<Timestamp>,
    /// The nodes, by id.
    nodes: Vec<NodeView>,
}

/// An instance, or a node that an operator added, of which the registry hears nothing: its load is then shown as 0.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = BalancerNode)]
pub struct NodeView {
    /// Its id.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    id: String,
    /// Where it is reached.
    #[schema(example = "http://127.0.0.1:8080")]
    url: String,
    /// Whether it is to get requests: an instance that was heard of in the last seconds and does not drain, or an added
    /// node; not if it was taken out.
    is_healthy: bool,
    /// Whether an operator added it.
    added: bool,
    /// Whether an operator took it out.
    removed: bool,
    /// Whether it is about to leave.
    draining: bool,
    /// Requests under way.
    #[schema(example = 3)]
    current_connections: u64,
    /// The most requests that it takes at a time.
    #[schema(example = 1000)]
    max_connections: u64,
    /// A running mean of the time from a request's arrival to the end of its response, in seconds.
    #[schema(example = 0.0021)]
    average_response_time: f64,
    /// Its share of the traffic relative to others.
    #[schema(example = 1)]
    weight: u32,
    /// The region it runs in.
    #[schema(example = "default")]
    region: String,
    /// The zone it runs in.
    #[schema(example = "default")]
    zone: String,
    /// The version it runs; null if it is no instance.
    #[schema(example = "0.1.0")]
    version: Option<String>,
    /// When it was last heard of; null if it is no instance.
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

/// Shows what the fleet's gateways balance over, and how busy each node is.
#[utoipa::path(
    get, path = "/v1/operator/balancer", tag = "operator", operation_id = "balancer",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "The fleet.", body = BalancerStats))
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
