//! The API's documentation: the OpenAPI document and Swagger UI, served from the binary without network access.
//!
//! Each document is generated once, and sent with an entity tag, compressed if the client accepts that. A rate limit covers
//! all clients together: documents bypass admission, and they are much larger than other responses.

mod document;
mod rate;

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use document::Document;
use rate::RateLimiter;
use utoipa::openapi::OpenApi;

use crate::app::App;
use crate::web::problem::{Problem, ProblemKind};

/// Swagger UI needs inline styles. All other content must come from this origin.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The files of Swagger UI that its page loads.
const SWAGGER_UI_FILES: [&str; 8] = [
    "index.html",
    "index.css",
    "swagger-ui.css",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "swagger-initializer.js",
    "favicon-16x16.png",
    "favicon-32x32.png",
];

/// Rate limit of documents, for all clients together.
const DOCUMENTS_PER_SECOND: u32 = 50;
const BURST: u32 = 50;

struct Documents {
    openapi: Document,
    files: HashMap<&'static str, Document>,
    rate: RateLimiter,
}

/// Returns the routes `/docs` and `/openapi.json`.
pub(super) fn router(document: &OpenApi) -> Router<App> {
    let openapi = serde_json::to_vec(document).unwrap_or_default();
    let config = Arc::new(utoipa_swagger_ui::Config::from("/openapi.json").try_it_out_enabled(true));
    let file = |name: &'static str| match utoipa_swagger_ui::serve(name, Arc::clone(&config)) {
        Ok(Some(file)) => Some((name, Document::new(&file.content_type, file.bytes, file.gzpipped))),
        _ => None,
    };
    let documents = Arc::new(Documents {
        openapi: Document::new("application/json", openapi.into(), false),
        files: SWAGGER_UI_FILES.into_iter().filter_map(file).collect(),
        rate: RateLimiter::new(Duration::from_secs(1) / DOCUMENTS_PER_SECOND, BURST),
    });
    let (index, files, openapi) = (Arc::clone(&documents), Arc::clone(&documents), documents);
    Router::new()
        .route("/docs", get(async || Redirect::to("/docs/")))
        .route("/docs/", get(async move |headers: HeaderMap| index.file("index.html", &headers).await))
        .route(
            "/docs/{*rest}",
            get(async move |Path(name): Path<String>, headers: HeaderMap| files.file(&name, &headers).await),
        )
        .route("/openapi.json", get(async move |headers: HeaderMap| openapi.respond(&openapi.openapi, &headers).await))
}

impl Documents {
    async fn file(&self, name: &str, headers: &HeaderMap) -> Response {
        let Some(file) = self.files.get(name) else { return ProblemKind::NotFound.into_response() };
        let mut response = self.respond(file, headers).await;
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
        response
    }

    async fn respond(&self, document: &Document, headers: &HeaderMap) -> Response {
        if document.is_current_for(headers) {
            return document.not_modified();
        }
        match self.rate.admit() {
            Ok(()) => document.respond(headers).await,
            Err(wait) => Problem::from(ProblemKind::Overloaded).retry_after(wait).unlogged().delayed().into_response(),
        }
    }
}
