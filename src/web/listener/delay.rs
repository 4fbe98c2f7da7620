//! Delays refusals of clients that ask too often, so that asking again at once is slow for them and cheap for the process.

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

/// How long refusals of one connection that wait together are apart, and how long one waits at most. By chance each waits up to
/// twice as long: a thousand that were made at once are not to be sent, and asked for again, at once.
const INTERVAL: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_millis(250);

/// The largest body of a refusal, in bytes.
const MAX_BODY: u64 = 16 * 1024;

/// Whether a response is such a refusal.
pub(super) fn is_delayed<B: SentBody>(response: &Response<B>) -> bool {
    let is_refusal =
        response.status() == StatusCode::TOO_MANY_REQUESTS || response.extensions().get::<Delayed>().is_some();
    is_refusal && response.body().size_hint().upper().is_some_and(|bytes| bytes <= MAX_BODY)
}

/// The response, a while later.
pub(super) async fn delay<B: SentBody>(response: Response<B>, exchange: &Exchange) -> Response<B> {
    let (waiting, _delayed) = exchange.delay();
    let (head, body) = response.into_parts();
    // First its body, which may hold a place here or at an instance.
    let Ok(body) = body.collect().await else {
        return default_headers::complete(ProblemKind::BadGateway.into_response()).map(B::from);
    };
    let least = MAX_DELAY.min(INTERVAL * u32::try_from(waiting).unwrap_or(u32::MAX));
    tokio::time::sleep(least.mul_f64(1.0 + fastrand::f64())).await;
    Response::from_parts(head, B::from(Body::from(body.to_bytes())))
}
