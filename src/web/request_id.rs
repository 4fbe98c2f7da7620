//! Request ids, in `X-Request-Id`.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header of request ids.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: its own, if it is fit to be repeated in logs and responses, or else a new one.
pub(crate) fn of_request(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|value| is_fit_request_id(value.as_bytes()));
    given.cloned().unwrap_or_else(generate)
}

pub(crate) fn generate() -> HeaderValue {
    let mut text = uuid::Uuid::encode_buffer();
    let id = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("none"))
}

/// Whether a request id may be repeated in logs and responses.
pub fn is_fit_request_id(value: &[u8]) -> bool {
    (1..=128).contains(&value.len()) && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
}
