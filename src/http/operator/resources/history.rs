//! Resource usage over time, as points of a chart.

use std::time::Duration;

use axum::extract::{RawQuery, State};
use serde::Serialize;

use super::parse_window;
use crate::{
    app::App,
    clock::Timestamp,
    http::{json::Json, query},
    monitor::ResourceMetrics,
    web::problem::Problem,
};

const DEFAULT_WINDOW: Duration = Duration::from_secs(3600);
const DEFAULT_POINTS: u32 = 60;
const MAX_POINTS: u32 = 1000;

/// Resource usage over time.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ResourceHistory {
    /// Means over equal parts of the window, oldest first. Parts without measurements are omitted. Each point has the time
    /// of its latest measurement. Measurements older than an hour are kept as means of one minute.
    points: Vec<ResourceMetrics>,
}

/// Returns the resource usage of this instance over time.
#[utoipa::path(
    get, path = "/v1/operator/resources/history", tag = "operator", operation_id = "resource_history",
    security(("operator_token" = []), ("session" = [])),
    params(
        ("window" = Option<String>, Query, pattern = "^([1-9][0-9]{0,2}[sm]|([1-9]|1[0-9]|2[0-4])h)$", description = "Length of the window up to now, such as 5m; at most 24h. Default: 1h.", example = "1h"),
        ("points" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Maximum number of points. Default: 60.", example = 60),
    ),
    responses(
        (status = 200, description = "Resource usage over time.", body = ResourceHistory),
        (status = 422, description = "invalid-value"),
    )
)]
pub(in crate::http) async fn resource_history(
    State(app): State<App>,
    RawQuery(text): RawQuery,
) -> Result<Json<ResourceHistory>, Problem> {
    let [window, points] = query::read(text.as_deref(), ["window", "points"])?;
    let window = window.as_deref().map_or(Ok(DEFAULT_WINDOW), parse_window)?;
    let points = points.as_deref().map_or(Ok(DEFAULT_POINTS), |text| query::count("points", text, MAX_POINTS))?;
    Ok(Json(ResourceHistory { points: app.monitor().series(window, points, Timestamp::now()) }))
}
