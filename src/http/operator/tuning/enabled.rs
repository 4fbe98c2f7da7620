//! Enabling and disabling tuning for the whole fleet.

use axum::{Extension, extract::State, http::StatusCode};
use serde::Deserialize;

use crate::{
    app::App,
    audit,
    clock::Timestamp,
    fleet::TUNING,
    http::{
        auth::{Operator, Origin},
        body::JsonBody,
    },
    web::problem::Problem,
};

/// Whether tuning is enabled.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"enabled": false}))]
pub struct TuningSwitch {
    /// False resets all knobs to their normal values.
    enabled: bool,
}

/// Enables or disables tuning for the whole fleet, including instances that start later.
#[utoipa::path(
    put, path = "/v1/operator/tuning/enabled", tag = "operator", operation_id = "switch_tuning",
    security(("operator_token" = []), ("session" = [])),
    request_body = TuningSwitch,
    responses((status = 204, description = "Tuning is enabled or disabled; other instances follow within seconds."))
)]
pub(in crate::http) async fn switch(
    State(app): State<App>,
    Extension(Operator(actor)): Extension<Operator>,
    origin: Origin,
    JsonBody(TuningSwitch { enabled }): JsonBody<TuningSwitch>,
) -> Result<StatusCode, Problem> {
    app.notes().write_note(TUNING, if enabled { "true" } else { "false" }, 0).await?;
    app.tuner().set_enabled(enabled, app.monitor(), Timestamp::now());
    audit::record_fleet_event(audit::Kind::TuningSwitched, if enabled { "on" } else { "off" }, actor, origin.address);
    Ok(StatusCode::NO_CONTENT)
}
