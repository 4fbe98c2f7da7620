//! Resource usage of this instance's container, or of the machine if it runs in none.

pub(super) mod history;
pub(super) mod limits;

use std::time::Duration;

use axum::extract::{RawQuery, State};
use serde::Serialize;

use crate::{
    app::App,
    clock::Timestamp,
    http::{json::Json, query},
    monitor::{HISTORY, ResourceMetrics},
    web::problem::{Problem, ProblemKind},
};

/// Resource usage: the latest measurement, and the mean over a window.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Resources {
    /// Latest measurement; null before the first.
    current: Option<ResourceMetrics>,
    /// Mean over the window; null if no window was requested, or it contains no measurements.
    average: Option<ResourceMetrics>,
}

/// Returns the resource usage of this instance's container, or of the machine if it runs in none.
#[utoipa::path(
    get, path = "/v1/operator/resources", tag = "operator", operation_id = "resources",
    security(("operator_token" = []), ("session" = [])),
    params(("window" = Option<String>, Query, pattern = "^([1-9][0-9]{0,2}[sm]|([1-9]|1[0-9]|2[0-4])h)$", description = "Length of the window to average over, such as 5m; at most 24h. Without it no average is returned.", example = "5m")),
    responses(
        (status = 200, description = "Resource usage.", body = Resources),
        (status = 422, description = "invalid-value"),
    )
)]
pub(in crate::http) async fn resources(
    State(app): State<App>,
    RawQuery(text): RawQuery,
) -> Result<Json<Resources>, Problem> {
    let [window] = query::read(text.as_deref(), ["window"])?;
    let window = window.as_deref().map(parse_window).transpose()?;
    Ok(Json(Resources {
        current: app.monitor().current(),
        average: window.and_then(|window| app.monitor().average(window, Timestamp::now())),
    }))
}

/// Parses a window: a number of up to three digits and its unit, exactly as the parameter's pattern in the document.
fn parse_window(text: &str) -> Result<Duration, Problem> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let is_number = (1..=3).contains(&digits.len()) && !digits.starts_with('0');
    match humantime::parse_duration(text) {
        Ok(window) if is_number && ["s", "m", "h"].contains(&unit) && window <= HISTORY => Ok(window),
        _ => Err(Problem::field(ProblemKind::Invalid, "window", "must be a duration such as 5m, at most 24h")),
    }
}
