//! The fleet's demand, for autoscalers.

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

/// What the whole fleet needs, whichever instance answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct FleetDemand {
    /// How many instances, each as busy as it is meant to be, the offered requests need now.
    #[schema(example = 2.83)]
    demand_replicas: f64,
    /// How many are wanted by the time that one started now takes requests, with what is kept for what can't be foreseen:
    /// what an autoscaler should have ready; no more than there are while a store is the bottleneck. Null if nobody has decided in the last 30 seconds, or by a policy that does not
    /// look ahead.
    #[schema(example = 3.41)]
    wanted_replicas: Option<f64>,
}

/// Tells an autoscaler how many instances the fleet needs; 503 if that can't be said, never a made-up number.
#[utoipa::path(
    get, path = "/v1/operator/demand", tag = "operator", operation_id = "demand",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "The demand.", body = FleetDemand))
)]
pub(in crate::http) async fn demand(State(app): State<App>) -> Result<Json<FleetDemand>, Problem> {
    let unsure = |reason: String| Problem::from(ProblemKind::Unavailable).with_detail(reason).unlogged();
    let demand_replicas = app.fleet().refresh().await?.demand().map_err(|error| unsure(format!("{error}.")))?;
    let last = app.scaling().last().await?.filter(|last| Timestamp::now().since(last.at) <= DECISION_TTL);
    // While a store is the bottleneck more instances would press it harder: whoever follows this number does not grow.
    let wanted_replicas = last.and_then(|ScalingDecision { decision, .. }| {
        let most = if decision.outcome == Outcome::StoreBound { f64::from(decision.to) } else { f64::INFINITY };
        decision.numbers.wanted.map(|wanted| wanted.min(most))
    });
    Ok(Json(FleetDemand { demand_replicas, wanted_replicas }))
}
