//! Past scaling decisions.

use axum::extract::State;
use serde::Serialize;

use crate::{app::App, fleet::ScalingDecision, http::json::Json, web::problem::Problem};

/// Past scaling decisions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ScalingDecisions {
    /// The last fifty decisions that differ from their predecessor in outcome or number of instances, newest first.
    decisions: Vec<ScalingDecision>,
}

/// Returns past scaling decisions, with their reasons and input values.
#[utoipa::path(
    get, path = "/v1/operator/scaling/decisions", tag = "operator", operation_id = "scaling_decisions",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "The decisions.", body = ScalingDecisions))
)]
pub(in crate::http) async fn decisions(State(app): State<App>) -> Result<Json<ScalingDecisions>, Problem> {
    Ok(Json(ScalingDecisions { decisions: app.scaling().decisions().await? }))
}
