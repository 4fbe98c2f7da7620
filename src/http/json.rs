//! JSON responses.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::web::problem::ProblemKind;

/// Initial size of the buffer, in bytes. Most users and sessions fit, so that it is not reallocated.
const INITIAL_CAPACITY: usize = 1024;

/// A JSON body. Unlike axum's `Json`, a serialization failure becomes a problem response.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut text = Vec::with_capacity(INITIAL_CAPACITY);
        match serde_json::to_writer(&mut text, &self.0) {
            Ok(()) => ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response(),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "serializing a response failed");
                ProblemKind::Internal.into_response()
            }
        }
    }
}
