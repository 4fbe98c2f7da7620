//! The API's documentation, served from the binary: Swagger UI needs no network.

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Response},
};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

use super::{json::Json, problem::ProblemKind};
use crate::app::App;

/// Swagger UI styles its elements inline; everything else comes from this origin or not at all.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/docs` and `/openapi.json`.
pub(super) fn router(document: OpenApi) -> Router<App> {
    let policy = HeaderValue::from_static(POLICY);
    Router::new()
        .merge(
            SwaggerUi::new("/docs").config(utoipa_swagger_ui::Config::from("/openapi.json").try_it_out_enabled(true)),
        )
        .layer(map_response(async |response: Response| match response.status() {
            StatusCode::NOT_FOUND => ProblemKind::NotFound.into_response(),
            _ => response,
        }))
        .layer(SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, policy))
        .route("/openapi.json", axum::routing::get(async move || Json(document)))
}
