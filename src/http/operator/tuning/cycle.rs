//! A cycle of the tuner at once.

use axum::extract::State;
use serde::Serialize;

use crate::{
    app::App,
    clock::Timestamp,
    http::json::Json,
    tuner::{Action, Cycle},
    web::problem::Problem,
};

/// What a cycle did.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CycleReport {
    /// Whether there was one.
    status: CycleStatus,
    /// How many knobs it turned.
    #[schema(example = 1)]
    actions_taken: usize,
    /// Which, and why.
    actions: Vec<Action>,
}

/// Whether there was a cycle.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CycleStatus {
    /// Every rule was compared.
    Completed,
    /// Tuning is switched off.
    Disabled,
    /// Nothing was measured since the cycle before.
    NoMetrics,
}

/// Has the instance that answers run a cycle now, besides those it runs by itself.
#[utoipa::path(
    post, path = "/v1/operator/tuning/cycle", tag = "operator", operation_id = "run_tuning_cycle",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "What it did.", body = CycleReport))
)]
pub(in crate::http) async fn run(State(app): State<App>) -> Result<Json<CycleReport>, Problem> {
    let (status, actions) = match app.tuner().run_cycle(app.monitor(), Timestamp::now()) {
        Cycle::Disabled => (CycleStatus::Disabled, Vec::new()),
        Cycle::NoMetrics => (CycleStatus::NoMetrics, Vec::new()),
        Cycle::Completed(actions) => (CycleStatus::Completed, actions),
    };
    Ok(Json(CycleReport { status, actions_taken: actions.len(), actions }))
}
