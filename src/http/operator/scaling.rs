//! Horizontal and vertical scaling: current and desired size of the fleet, and past decisions.

pub(super) mod decisions;
pub(super) mod demand;
pub(super) mod vertical;

use axum::extract::State;
use serde::Serialize;
use symbolon_scaler::{Bounds, Policy, PolicyName};

use crate::{
    app::App,
    clock::Timestamp,
    fleet::{DECISION_TTL, ScalingDecision},
    http::json::Json,
    web::problem::Problem,
};

/// Current and desired number of instances.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ScalingStatus {
    /// Scaling policy of the instance that sent this response.
    policy: PolicyName,
    /// Minimum and maximum number of instances.
    bounds: Bounds,
    /// Number of instances that accept requests.
    #[schema(example = 2)]
    ready: u32,
    /// Number of instances that are draining before they stop.
    #[schema(example = 0)]
    draining: u32,
    /// Desired number of instances; null if there was no decision in the last 30 seconds.
    #[schema(example = 3)]
    desired: Option<u32>,
    /// Number of instances, each at its target utilization, that the offered requests need; null if unknown.
    #[schema(example = 2.83)]
    demand: Option<f64>,
    /// Why the demand is unknown; null if it is known.
    demand_unknown: Option<String>,
    /// The store that is the bottleneck of the fleet; null if there is none.
    #[schema(example = "db-node-1")]
    bottleneck: Option<String>,
    /// Id of the instance that makes the decisions; null if there is none at the moment.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    decided_by: Option<String>,
    /// Whether the fleet registry is unavailable. The values are then as last known.
    stale: bool,
    /// Latest decision; null before the first.
    last: Option<ScalingDecision>,
}

/// Returns the current and the desired number of instances, with the latest decision.
#[utoipa::path(
    get, path = "/v1/operator/scaling", tag = "operator", operation_id = "scaling",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "Scaling status.", body = ScalingStatus))
)]
pub(in crate::http) async fn scaling(State(app): State<App>) -> Result<Json<ScalingStatus>, Problem> {
    let last = app.scaling().last().await?;
    let snapshot = app.fleet().refresh().await?;
    let demand = snapshot.demand();
    let stands = last.as_ref().filter(|last| Timestamp::now().since(last.at) <= DECISION_TTL);
    let (desired, seen) = (stands.map(|last| last.decision.to), snapshot.view.observation(0));
    let policy = app.scaling().policy();
    Ok(Json(ScalingStatus {
        policy: policy.name(),
        bounds: match policy {
            Policy::Demand(policy) => policy.bounds,
            Policy::Threshold(policy) => policy.bounds,
        },
        ready: seen.ready,
        draining: seen.draining,
        desired,
        demand_unknown: demand.as_ref().err().map(ToString::to_string),
        demand: demand.ok(),
        bottleneck: seen.bottleneck,
        decided_by: snapshot.view.leader,
        stale: snapshot.stale,
        last,
    }))
}
