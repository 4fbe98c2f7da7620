//! What was decided.

use axum::extract::State;
use serde::Serialize;

use crate::{app::App, fleet::ScalingDecision, http::json::Json, web::problem::Problem};

/// Decisions of late.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ScalingDecisions {
    /// The last fifty that differ from the one before in outcome or number, newest first.
    decisions: Vec<ScalingDecision>,
}

/// Shows what was decided, why, and from which numbers.
#[utoipa::path(
    get, path = "/v1/operator/scaling/decisions", tag = "operator", operation_id = "scaling_decisions",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "The decisions.", body = ScalingDecisions))
)]
pub(in crate::http) async fn decisions(State(app): State<App>) -> Result<Json<ScalingDecisions>, Problem> {
    Ok(Json(ScalingDecisions { decisions: app.scaling().decisions().await? }))
}
