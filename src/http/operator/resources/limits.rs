//! Resources whose usage exceeds its limit.

use axum::extract::State;
use serde::Serialize;

use crate::{app::App, clock::Timestamp, http::json::Json, monitor::Violation, web::problem::Problem};

/// Comparison of the latest measurement with the limits: 80 % of CPU, 85 % of memory, 90 % of disk.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ResourceLimits {
    /// Result of the comparison.
    status: LimitStatus,
    /// All resources above their limit.
    violations: Vec<Violation>,
    /// Time of this request.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    checked_at: Timestamp,
}

/// Whether any resource is above its limit.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitStatus {
    /// No resource is above its limit.
    Ok,
    /// Some resources are above their limit.
    Violations,
    /// There is no measurement yet.
    NoData,
}

/// Returns the resources above their limits, with severity and start time.
#[utoipa::path(
    get, path = "/v1/operator/resources/limits", tag = "operator", operation_id = "resource_limits",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "Result of the comparison.", body = ResourceLimits))
)]
pub(in crate::http) async fn resource_limits(State(app): State<App>) -> Result<Json<ResourceLimits>, Problem> {
    let violations = app.monitor().violations();
    let status = match violations.as_deref() {
        None => LimitStatus::NoData,
        Some([]) => LimitStatus::Ok,
        Some(_) => LimitStatus::Violations,
    };
    Ok(Json(ResourceLimits { status, violations: violations.unwrap_or_default(), checked_at: Timestamp::now() }))
}
