//! Delays rejections, so that clients that retry immediately are slow and cost the process little.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Response, StatusCode},
    response::IntoResponse,
};
use http_body_util::BodyExt;

use super::SentBody;
use crate::web::{
    connections::Exchange,
    default_headers,
    problem::{Delayed, ProblemKind},
};

/// Delay per rejection that waits on the same connection, and its maximum. Random jitter extends a delay up to twofold, so
/// that clients rejected at the same time do not retry at the same time.
const INTERVAL: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_millis(250);

/// Maximum size of the body of a delayed response, in bytes.
const MAX_BODY: u64 = 16 * 1024;

/// Returns whether a response is a rejection that has to be delayed.
pub(super) fn is_delayed<B: SentBody>(response: &Response<B>) -> bool {
    let is_refusal =
        response.status() == StatusCode::TOO_MANY_REQUESTS || response.extensions().get::<Delayed>().is_some();
    is_refusal && response.body().size_hint().upper().is_some_and(|bytes| bytes <= MAX_BODY)
}

/// Returns the response after its delay.
pub(super) async fn delay<B: SentBody>(response: Response<B>, exchange: &Exchange) -> Response<B> {
    let (waiting, _delayed) = exchange.begin_delay();
    let (head, body) = response.into_parts();
    // The body is collected first, because it may hold a permit here or at an instance.
    let Ok(body) = body.collect().await else {
        return default_headers::complete(ProblemKind::BadGateway.into_response()).map(B::from);
    };
    let min_delay = MAX_DELAY.min(INTERVAL * u32::try_from(waiting).unwrap_or(u32::MAX));
    tokio::time::sleep(min_delay.mul_f64(1.0 + fastrand::f64())).await;
    Response::from_parts(head, B::from(Body::from(body.to_bytes())))
}
