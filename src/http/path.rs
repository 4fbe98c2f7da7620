//! Path parameters, and the description of `user_id` in the OpenAPI document.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use super::openapi::text_parameter;
use crate::app::App;
use crate::web::problem::{Problem, ProblemKind};

/// The only parameter of a path, percent-decoded.
#[derive(Debug)]
pub(super) struct PathParam(pub String);

impl FromRequestParts<App> for PathParam {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, app).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(Problem::field(ProblemKind::Malformed, "path", "must be percent-encoded UTF-8")),
        }
    }
}

/// Documents a `user_id` that may also be `me`.
pub(super) enum UserOrMe {}

/// Documents a `user_id`.
pub(super) enum AnyUser {}

impl IntoParams for UserOrMe {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let pattern = "^(me|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$";
        vec![text_parameter("user_id", ParameterIn::Path, "Id of the user, or `me` for the caller.", pattern, "me")]
    }
}

impl IntoParams for AnyUser {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let pattern = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$";
        let example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60";
        vec![text_parameter("user_id", ParameterIn::Path, "Id of the user.", pattern, example)]
    }
}
