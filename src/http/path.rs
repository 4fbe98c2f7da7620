//! The parameter of a path.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use super::problem::{Problem, ProblemKind};
use crate::app::App;

/// The one segment of a path that varies, percent-decoded.
#[derive(Debug)]
pub(super) struct Segment(pub String);

impl FromRequestParts<App> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, app).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(Problem::field(ProblemKind::Malformed, "path", "must be percent-encoded UTF-8")),
        }
    }
}
