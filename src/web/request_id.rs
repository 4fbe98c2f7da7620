//! Request ids in the header `X-Request-Id`.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Returns the request id: the one in the header if it is valid, or else a new one.
pub(crate) fn from_headers(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|value| is_valid_request_id(value.as_bytes()));
    given.cloned().unwrap_or_else(generate)
}

pub(crate) fn generate() -> HeaderValue {
    let mut text = uuid::Uuid::encode_buffer();
    let id = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("none"))
}

/// Returns whether a request id is safe to repeat in logs and responses.
pub fn is_valid_request_id(value: &[u8]) -> bool {
    (1..=128).contains(&value.len()) && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
}
