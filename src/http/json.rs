//! Responses of JSON.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::web::problem::ProblemKind;

/// What is allocated for a document at first, in bytes: most users and sessions fit in it, and to grow it would copy it.
const ROOM: usize = 1024;

/// A document as the body of a response.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut text = Vec::with_capacity(ROOM);
        match serde_json::to_writer(&mut text, &self.0) {
            Ok(()) => ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response(),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a response could not be written as JSON");
                ProblemKind::Internal.into_response()
            }
        }
    }
}
