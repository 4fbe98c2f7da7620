//! Liveness and readiness of an instance.

use axum::{extract::State, http::StatusCode};
use serde::Serialize;

use super::json::Json;
use crate::app::{App, Readiness};

/// Liveness of the process.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Alive {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Checks that the process is alive.
#[utoipa::path(
    get, path = "/v1/health/live", tag = "health", operation_id = "live",
    responses((status = 200, description = "The process is alive.", body = Alive))
)]
pub(super) async fn live() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Checks whether the instance should receive requests.
///
/// It is not ready while it drains, while its embedded storage fails, and until it has reached each required dependency once.
/// If a store fails that all instances share, the instance stays ready and reports `degraded`, because no other instance could
/// serve the request either. The response lists every dependency and whether it is up.
#[utoipa::path(
    get, path = "/v1/health/ready", tag = "health", operation_id = "ready",
    responses(
        (status = 200, description = "The instance is ready.", body = Readiness),
        (status = 503, description = "The instance is not ready.", body = Readiness),
    )
)]
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Json<Readiness>) {
    let readiness = app.readiness().await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}
