//! The API's documentation, served from the binary: Swagger UI needs no network.
//!
//! Each document is made once, and answered with an entity tag and compressed where the client takes that. How many are
//! sent in a second is bounded for all clients together: documents pass no other gate, and are much larger than answers.

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
use rate::Rate;
use utoipa::openapi::OpenApi;

use crate::app::App;
use crate::web::problem::{Problem, ProblemKind};

/// Swagger UI styles its elements inline; everything else comes from this origin or not at all.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The files of Swagger UI that its page uses.
const FILES: [&str; 8] = [
    "index.html",
    "index.css",
    "swagger-ui.css",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "swagger-initializer.js",
    "favicon-16x16.png",
    "favicon-32x32.png",
];

/// Documents that are sent in a second, and at once.
const PER_SECOND: u32 = 50;
const AT_ONCE: u32 = 50;

struct Documents {
    openapi: Document,
    files: HashMap<&'static str, Document>,
    rate: Rate,
}

/// `/docs` and `/openapi.json`.
pub(super) fn router(document: &OpenApi) -> Router<App> {
    let openapi = serde_json::to_vec(document).unwrap_or_default();
    let config = Arc::new(utoipa_swagger_ui::Config::from("/openapi.json").try_it_out_enabled(true));
    let file = |name: &'static str| match utoipa_swagger_ui::serve(name, Arc::clone(&config)) {
        Ok(Some(file)) => Some((name, Document::new(&file.content_type, file.bytes, file.gzpipped))),
        _ => None,
    };
    let documents = Arc::new(Documents {
        openapi: Document::new("application/json", openapi.into(), false),
        files: FILES.into_iter().filter_map(file).collect(),
        rate: Rate::new(Duration::from_secs(1) / PER_SECOND, AT_ONCE),
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
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
        response
    }

    async fn respond(&self, document: &Document, headers: &HeaderMap) -> Response {
        if document.is_known_to(headers) {
            return document.not_modified();
        }
        match self.rate.admit() {
            Ok(()) => document.respond(headers).await,
            Err(wait) => Problem::from(ProblemKind::Overloaded).retry_after(wait).unlogged().delayed().into_response(),
        }
    }
}
