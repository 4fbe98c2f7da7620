//! Whether the process lives, and whether it should get requests.

use axum::{extract::State, http::StatusCode};
use serde::Serialize;

use super::json::Json;
use crate::app::{App, Readiness};

/// The process answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Alive {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether the process lives.
#[utoipa::path(
    get, path = "/v1/health/live", tag = "health", operation_id = "live",
    responses((status = 200, description = "It does.", body = Alive))
)]
pub(super) async fn live() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Whether the instance should get requests: not while it drains, while its own storage fails, or before it has reached what it
/// needs once. A fault that other instances share leaves it ready and `degraded`, as no other one would serve better. Says
/// what is down.
#[utoipa::path(
    get, path = "/v1/health/ready", tag = "health", operation_id = "ready",
    responses(
        (status = 200, description = "It can.", body = Readiness),
        (status = 503, description = "It can't.", body = Readiness),
    )
)]
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Json<Readiness>) {
    let readiness = app.readiness().await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}
