//! Which resources are used up further than they should be.

use axum::extract::State;
use serde::Serialize;

use crate::{app::App, clock::Timestamp, http::json::Json, monitor::Violation, web::problem::Problem};

/// How the newest measurement compares with the limits: 80 % of processor time, 85 % of memory, 90 % of the disk.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ResourceLimits {
    /// Whether there are violations.
    status: LimitStatus,
    /// Every resource that is above its limit.
    violations: Vec<Violation>,
    /// When this was asked.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    checked_at: Timestamp,
}

/// Whether resources are above their limits.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitStatus {
    /// None is.
    Ok,
    /// Some are.
    Violations,
    /// Nothing was measured yet.
    NoData,
}

/// Shows which resources are above their limits, how far, and since when.
#[utoipa::path(
    get, path = "/v1/operator/resources/limits", tag = "operator", operation_id = "resource_limits",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "The violations.", body = ResourceLimits))
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
