//! Running a tuning cycle immediately.

use axum::extract::State;
use serde::Serialize;

use crate::{
    app::App,
    clock::Timestamp,
    http::json::Json,
    tuner::{Action, Cycle},
    web::problem::Problem,
};

/// Result of a tuning cycle.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CycleReport {
    /// Whether the cycle ran.
    status: CycleStatus,
    /// Number of knobs changed.
    #[schema(example = 1)]
    actions_taken: usize,
    /// The changes, with their reasons.
    actions: Vec<Action>,
}

/// Whether a cycle ran.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CycleStatus {
    /// All rules were evaluated.
    Completed,
    /// Tuning is disabled.
    Disabled,
    /// There is no new measurement since the previous cycle.
    NoMetrics,
}

/// Runs a tuning cycle on this instance now, in addition to the periodic ones.
#[utoipa::path(
    post, path = "/v1/operator/tuning/cycle", tag = "operator", operation_id = "run_tuning_cycle",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "Result of the cycle.", body = CycleReport))
)]
pub(in crate::http) async fn run(State(app): State<App>) -> Result<Json<CycleReport>, Problem> {
    let (status, actions) = match app.tuner().run_cycle(app.monitor(), Timestamp::now()) {
        Cycle::Disabled => (CycleStatus::Disabled, Vec::new()),
        Cycle::NoMetrics => (CycleStatus::NoMetrics, Vec::new()),
        Cycle::Completed(actions) => (CycleStatus::Completed, actions),
    };
    Ok(Json(CycleReport { status, actions_taken: actions.len(), actions }))
}
