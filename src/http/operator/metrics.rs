//! The metrics endpoint for Prometheus.

use axum::{
    extract::State,
    http::{header, request::Parts},
    response::{IntoResponse, Response},
};

use crate::{app::App, http::auth::Operator, metrics::OPENMETRICS, web::problem::Problem};

/// Returns the metrics of this instance as OpenMetrics text.
///
/// On a separate operator listener (setting `operator_listen`) no token is needed.
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
