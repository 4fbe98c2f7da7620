//! The headers that every response has.

use std::sync::LazyLock;

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};

use super::request_id::{self, REQUEST_ID};

/// The headers of every response that has no others of these names.
static DEFAULTS: LazyLock<HeaderMap> = LazyLock::new(|| {
    let values = [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    HeaderMap::from_iter(values.map(|(name, value)| (name, HeaderValue::from_static(value))))
});

/// A response with the headers that every response has, unless it has its own.
pub(crate) fn add(mut response: Response, request_id: HeaderValue) -> Response {
    // Cheaper than to add each: what is copied needs no place looked for.
    let own = std::mem::replace(response.headers_mut(), DEFAULTS.clone());
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, request_id);
    headers.extend(own);
    response
}

/// A response with the headers that every response has, if it has not been through [`RequestPipeline`].
pub fn complete(response: Response) -> Response {
    if response.headers().contains_key(REQUEST_ID) { response } else { add(response, request_id::generate()) }
}
