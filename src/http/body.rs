//! Extractors for JSON request bodies. They check content type, size, arrival time and shape, and reject with a problem.

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::web::problem::{Problem, ProblemKind};
use crate::{app::App, json};

/// A body with the content type `application/json`.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

/// A JSON Merge Patch (RFC 7396), with the content type `application/merge-patch+json` or `application/json`.
#[derive(Debug)]
pub struct MergePatch<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        read(request, app, &["application/json"]).await.map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<App> for MergePatch<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        read(request, app, &["application/merge-patch+json", "application/json"]).await.map(Self)
    }
}

async fn read<T: DeserializeOwned>(request: Request, app: &App, types: &[&str]) -> Result<T, Problem> {
    if !types.contains(&content_type(request.headers()).as_str()) {
        let detail = format!("must be {}", types.join(" or "));
        return Err(Problem::field(ProblemKind::UnsupportedType, "Content-Type", detail));
    }
    let settings = app.settings();
    let read = collect(request.into_body(), settings.body_limit as usize);
    match tokio::time::timeout(settings.body_timeout, read).await {
        Ok(bytes) => Ok(json::from_slice(&bytes?)?),
        Err(_) => Err(ProblemKind::BodyTimeout.into()),
    }
}

/// Returns the media type without parameters, in lower case; empty if there is none.
fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

async fn collect(body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Problem::from(ProblemKind::TooLarge)
                .with_detail(format!("the body must be at most {limit} bytes long")))
        }
        Err(_) => Err(Problem::field(ProblemKind::Malformed, "", "is incomplete")),
    }
}
