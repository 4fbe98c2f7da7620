//! How many instances there should be, how large, and what was decided.

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

/// How many instances there are and should be.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ScalingStatus {
    /// By what is decided, at the instance that answers.
    policy: PolicyName,
    /// How many instances there may be.
    bounds: Bounds,
    /// How many take requests.
    #[schema(example = 2)]
    ready: u32,
    /// How many are about to leave.
    #[schema(example = 0)]
    draining: u32,
    /// How many there should be; null if nobody has decided in the last 30 seconds.
    #[schema(example = 3)]
    desired: Option<u32>,
    /// How many instances, each as busy as it is meant to be, the offered requests need; null if that can't be said.
    #[schema(example = 2.83)]
    demand: Option<f64>,
    /// Why it can't be said.
    demand_unknown: Option<String>,
    /// The store that holds the fleet up; null if none does.
    #[schema(example = "db-node-1")]
    bottleneck: Option<String>,
    /// The instance that decides; null if none does just now.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    decided_by: Option<String>,
    /// Whether the registry does not answer, so that all this is as it was last known.
    stale: bool,
    /// The last decision; null before the first.
    last: Option<ScalingDecision>,
}

/// Shows how many instances there are and should be, and why.
#[utoipa::path(
    get, path = "/v1/operator/scaling", tag = "operator", operation_id = "scaling",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "The fleet's size.", body = ScalingStatus))
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
