//! The demand of the fleet, for autoscalers.

use axum::extract::State;
use serde::Serialize;
use symbolon_scaler::Outcome;

use crate::{
    app::App,
    clock::Timestamp,
    fleet::{DECISION_TTL, ScalingDecision},
    http::json::Json,
    web::problem::{Problem, ProblemKind},
};

/// Demand of the whole fleet, the same on every instance.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct FleetDemand {
    /// Number of instances, each at its target utilization, that the offered requests need now.
    #[schema(example = 2.83)]
    demand_replicas: f64,
    /// Number of instances that an autoscaler should run: the demand forecast for the time when an instance started now would
    /// accept requests, plus a reserve. While a store is the bottleneck, it is capped at the current number. Null if there was
    /// no decision in the last 30 seconds, or the policy makes no forecast.
    #[schema(example = 3.41)]
    wanted_replicas: Option<f64>,
}

/// Returns how many instances the fleet needs, for autoscalers.
///
/// The response is 503 if the demand is unknown; no number is guessed.
#[utoipa::path(
    get, path = "/v1/operator/demand", tag = "operator", operation_id = "demand",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "Demand of the fleet.", body = FleetDemand))
)]
pub(in crate::http) async fn demand(State(app): State<App>) -> Result<Json<FleetDemand>, Problem> {
    let unavailable = |reason: String| Problem::from(ProblemKind::Unavailable).with_detail(reason).unlogged();
    let demand_replicas = app.fleet().refresh().await?.demand().map_err(|error| unavailable(format!("{error}.")))?;
    let last = app.scaling().last().await?.filter(|last| Timestamp::now().since(last.at) <= DECISION_TTL);
    // While a store is the bottleneck, more instances would only increase the load on it.
    let wanted_replicas = last.and_then(|ScalingDecision { decision, .. }| {
        let max = if decision.outcome == Outcome::StoreBound { f64::from(decision.to) } else { f64::INFINITY };
        decision.numbers.wanted.map(|wanted| wanted.min(max))
    });
    Ok(Json(FleetDemand { demand_replicas, wanted_replicas }))
}
