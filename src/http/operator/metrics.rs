//! Metrics for Prometheus.

use axum::{
    extract::State,
    http::{header, request::Parts},
    response::{IntoResponse, Response},
};

use crate::{app::App, http::auth::Operator, metrics::OPENMETRICS, web::problem::Problem};

/// Shows the metrics of the instance that answers, as OpenMetrics text. On a listener of the operators' own it is open.
#[utoipa::path(
    get, path = "/metrics", tag = "operator", operation_id = "metrics",
    security(("operator_token" = []), ("session" = []), ()),
    responses((status = 200, description = "The metrics.", body = String, content_type = "application/openmetrics-text"))
)]
pub(in crate::http) async fn metrics(State(app): State<App>, parts: Parts) -> Result<Response, Problem> {
    if app.settings().operator_listen.is_none() {
        Operator::authenticate(&parts, &app).await?;
    }
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], app.metrics_text()).into_response())
}
