//! Default headers of all responses.

use std::sync::LazyLock;

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};

use super::request_id::{self, REQUEST_ID};

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

/// Adds the request id and the default headers. A response's own headers take precedence.
pub(crate) fn add(mut response: Response, request_id: HeaderValue) -> Response {
    // Cloning the map is cheaper than inserting each default, which would hash its name.
    let own = std::mem::replace(response.headers_mut(), DEFAULTS.clone());
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, request_id);
    headers.extend(own);
    response
}

/// Adds the default headers to a response that has not passed the request pipeline.
pub fn complete(response: Response) -> Response {
    if response.headers().contains_key(REQUEST_ID) { response } else { add(response, request_id::generate()) }
}
