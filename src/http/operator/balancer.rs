//! The fleet's instances and how busy each is.

use axum::{Json, extract::State};
use serde::Serialize;

use crate::{
    app::App,
    clock::Timestamp,
    fleet::Member,
    http::{auth::Operator, problem::Problem},
};

/// The seed's balancer statistics, over the whole fleet.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BalancerStats {
    /// How many instances there are.
    #[schema(example = 2)]
    total_nodes: usize,
    /// How many of them take requests.
    #[schema(example = 2)]
    healthy_nodes: usize,
    /// The instance that answers.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    answered_by: String,
    /// The instances, by id.
    nodes: Vec<NodeView>,
}

/// One instance.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = BalancerNode)]
pub struct NodeView {
    /// Its id.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    id: String,
    /// Where it is reached.
    #[schema(example = "http://127.0.0.1:8080")]
    url: String,
    /// Whether it takes requests: it was heard of in the last seconds and does not drain.
    is_healthy: bool,
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
    /// The version it runs.
    #[schema(example = "0.1.0")]
    version: String,
    /// When it was last heard of.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    last_health_check: Timestamp,
}

impl From<Member> for NodeView {
    fn from(Member { record, seen_at }: Member) -> Self {
        Self {
            id: record.id,
            url: record.url,
            is_healthy: !record.draining,
            draining: record.draining,
            current_connections: record.current_connections,
            max_connections: record.max_connections,
            average_response_time: record.average_response_time,
            weight: record.weight,
            region: record.region,
            zone: record.zone,
            version: record.version,
            last_health_check: seen_at,
        }
    }
}

/// Shows the fleet's instances and how busy each is.
#[utoipa::path(
    get, path = "/v1/operator/balancer", tag = "operator", operation_id = "balancer",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "The instances.", body = BalancerStats))
)]
pub(in crate::http) async fn balancer(State(app): State<App>, _: Operator) -> Result<Json<BalancerStats>, Problem> {
    let nodes: Vec<NodeView> = app.fleet().members().await?.into_iter().map(NodeView::from).collect();
    Ok(Json(BalancerStats {
        total_nodes: nodes.len(),
        healthy_nodes: nodes.iter().filter(|node| node.is_healthy).count(),
        answered_by: app.fleet().own().spec().id.clone(),
        nodes,
    }))
}
