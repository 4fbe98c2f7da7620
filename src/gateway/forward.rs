//! Forwarding of a request: validates it, picks a node, sends it, retries if allowed, and returns the response.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use axum::response::IntoResponse;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use symbolon_balancer::{Algorithm, Caller, Lease, Node, Outcome, PickError};

use super::{
    Gateway,
    body::{ForwardedBody, ReadError, RequestBody, ResponseBody, UploadProgress},
    headers::{
        has_supported_transfer_coding, has_trimmed_values, has_unambiguous_target, has_valid_content_length,
        prepare_request, prepare_response,
    },
    upstream::{self, Reusable, SendError},
};
use crate::{
    config::HashBy,
    log::repeats::Repeats,
    web::{ClientBody, Problem, ProblemKind, address, auth},
};

/// Maximum number of request headers. Nodes accept 100, and the gateway adds up to eight.
const MAX_HEADERS: usize = 92;

/// Maximum number of nodes that a request is sent to.
const MAX_ATTEMPTS: usize = 3;

/// An attempt without a response.
struct FailedAttempt {
    node: Arc<Node>,
    /// Whether a reused connection failed, which is no evidence against the node.
    was_reused: bool,
    /// `None` if the node did not begin its response in time.
    error: Option<SendError>,
}

impl FailedAttempt {
    /// Returns whether the request body failed, which is not the node's fault.
    fn is_client_error(&self) -> bool {
        matches!(&self.error, Some(SendError::Connection { source, .. }) if source.is_user())
    }

    /// Returns whether `node` should not be tried again.
    fn rules_out(&self, node: &Node) -> bool {
        !self.was_reused && self.node.spec().id == node.spec().id
    }
}

impl Gateway {
    /// Forwards a request to a node and returns the response.
    pub(super) async fn forward(&self, request: Request<ClientBody>, peer: SocketAddr) -> Response<ResponseBody> {
        if request.method() == Method::CONNECT {
            return problem(ProblemKind::MethodNotAllowed);
        }
        let (parts, body) = request.into_parts();
        // The connection is closed after each of these, because the next request on it may be smuggled.
        if !has_unambiguous_target(&parts) {
            return closing(problem(ProblemKind::Malformed));
        }
        if !has_supported_transfer_coding(&parts.headers) {
            return closing(problem(ProblemKind::UnknownCoding));
        }
        if !has_valid_content_length(&parts.headers) || !has_trimmed_values(&parts.headers) {
            return closing(problem(ProblemKind::Malformed));
        }
        if parts.headers.len() > MAX_HEADERS {
            return closing(problem(ProblemKind::TooManyHeaders));
        }
        let client = match address::client_address(peer.ip(), &parts.headers, &self.0.policy.trusted_proxies) {
            Ok(client) => client,
            Err(error) => return closing(problem(error)),
        };
        let hints = self.routing_hints(&parts.headers, client);
        let (body, upload) = match RequestBody::read_ahead(body, self.0.policy.body_timeout).await {
            Ok(read) => read,
            Err(ReadError::TimedOut) => return closing(problem(ProblemKind::BodyTimeout)),
            Err(ReadError::Aborted) => return closing(problem(ProblemKind::Malformed)),
        };
        let is_repeatable = body.is_empty() && [Method::GET, Method::HEAD].contains(&parts.method);
        let inner = &self.0;
        inner.budget.deposit();
        let mut request = Request::from_parts(parts, body);
        let mut is_prepared = false;
        let mut failed: Option<FailedAttempt> = None;
        for attempt in 1.. {
            let caller = Caller {
                key: &hints.key,
                region: &hints.region,
                zone: &hints.zone,
                failed: failed.as_ref().map(|failed| failed.node.spec().id.as_str()),
            };
            let lease = match inner.nodes.balancer.pick(&caller, Instant::now()) {
                Ok(lease) => lease,
                Err(error) => return pick_failed(error),
            };
            if let Some(failed) = failed.as_ref().filter(|failed| failed.rules_out(lease.node())) {
                lease.end(Outcome::Cancelled, Instant::now());
                return self.attempt_failed(failed);
            }
            let Some(upstream) = inner.nodes.upstream(&lease.node().spec().id) else {
                // The node was removed since it was picked.
                continue;
            };
            if !is_prepared {
                request = prepared(request, peer, &inner.policy.trusted_proxies, upstream.authority());
                is_prepared = true;
            }
            let copy = is_repeatable.then(|| copy_without_body(&request));
            let sent = tokio::time::timeout(inner.policy.timeout, upstream.send(request)).await;
            let node = Arc::clone(lease.node());
            let (failure, retry) = match sent {
                Ok(Ok((response, connection))) => return self.forward_response(response, lease, connection, upload),
                Ok(Err(upstream::SendFailure { error, unsent, was_reused })) => {
                    (FailedAttempt { node, was_reused, error: Some(error) }, unsent.map(|request| *request).or(copy))
                }
                Err(_) if upload.waits_for_client() => return closing(problem(ProblemKind::BodyTimeout)),
                Err(_) => (FailedAttempt { node, was_reused: false, error: None }, copy),
            };
            if upload.has_timed_out() {
                return closing(problem(ProblemKind::BodyTimeout));
            }
            if failure.is_client_error() {
                tracing::debug!("request body aborted");
                return problem(ProblemKind::Malformed);
            }
            // A connection error during the upload may mean that the node has answered early and closed.
            let is_node_error = upload.has_ended() || !matches!(failure.error, Some(SendError::Connection { .. }));
            lease.end(if is_node_error { Outcome::Failure } else { Outcome::Cancelled }, Instant::now());
            match retry {
                Some(retry) if attempt < MAX_ATTEMPTS => {
                    if !inner.budget.withdraw(Instant::now()) {
                        inner.metrics.count_refused_retry();
                        return self.attempt_failed(&failure);
                    }
                    inner.metrics.count_retry();
                    tracing::debug!(node = failure.node.spec().id, attempt, "retrying request on another node");
                    (request, failed) = (retry, Some(failure));
                }
                _ => return self.attempt_failed(&failure),
            }
        }
        problem(ProblemKind::NoNode)
    }

    fn forward_response(
        &self,
        mut response: Response<Incoming>,
        lease: Lease,
        connection: Option<Reusable>,
        upload: Arc<UploadProgress>,
    ) -> Response<ResponseBody> {
        // The gateway does not request upgrades or other codings, and the end of a body with two lengths is ambiguous.
        let headers = response.headers();
        let is_well_framed = has_supported_transfer_coding(headers) && has_valid_content_length(headers);
        if response.status() == StatusCode::SWITCHING_PROTOCOLS || !is_well_framed {
            let (node, status) = (lease.node().spec().id.clone(), response.status().as_u16());
            lease.end(Outcome::Failure, Instant::now());
            static FAILURES: Repeats = Repeats::new(|count| tracing::warn!(count, "more invalid responses from nodes"));
            FAILURES.record(|| tracing::warn!(node, status, "invalid response from node"));
            return problem(ProblemKind::BadGateway);
        }
        // `Transfer-Encoding` overrides `Content-Length`. Both together may be an attack, so the connection is not reused
        // (RFC 9112, section 6.3).
        let has_both = response.headers().contains_key(header::TRANSFER_ENCODING)
            && response.headers_mut().remove(header::CONTENT_LENGTH).is_some();
        let connection = connection.filter(|_| !has_both);
        prepare_response(response.headers_mut());
        if !upload.has_ended() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        *response.version_mut() = Version::HTTP_11;
        let outcome = outcome(response.status());
        let idle_timeout = self.0.policy.timeout;
        response.map(|body| {
            ResponseBody::Forwarded(ForwardedBody::new(body, lease, outcome, connection, upload, idle_timeout))
        })
    }

    fn attempt_failed(&self, failed: &FailedAttempt) -> Response<ResponseBody> {
        let node = failed.node.spec().id.as_str();
        match &failed.error {
            None => {
                static FAILURES: Repeats =
                    Repeats::new(|count| tracing::warn!(count, "more requests timed out at nodes"));
                FAILURES.record(|| tracing::warn!(node, "request timed out at node"));
                problem(ProblemKind::GatewayTimeout)
            }
            Some(error) => {
                static FAILURES: Repeats = Repeats::new(|count| tracing::warn!(count, "more requests failed at nodes"));
                FAILURES.record(|| {
                    tracing::warn!(node, error = error as &dyn std::error::Error, "request failed at node");
                });
                problem(ProblemKind::BadGateway)
            }
        }
    }

    fn routing_hints(&self, headers: &HeaderMap, client: IpAddr) -> RoutingHints<'_> {
        let policy = &self.0.policy;
        let by_key = self.0.nodes.balancer.algorithm() == Algorithm::Hash;
        RoutingHints {
            key: if by_key { self.hash_key(headers, client) } else { String::new() },
            region: header_text(headers, policy.region_header.as_ref())
                .map_or(Cow::Borrowed(&policy.region), Cow::Owned),
            zone: header_text(headers, policy.zone_header.as_ref()).map_or(Cow::Borrowed(&policy.zone), Cow::Owned),
        }
    }

    /// Returns the hash key of the request, or the client address if it has none.
    fn hash_key(&self, headers: &HeaderMap, client: IpAddr) -> String {
        let key = match &self.0.policy.hash_by {
            HashBy::User => auth::claimed_token(headers).map(|token| token.user_id().to_string()),
            HashBy::Header(name) => header_text(headers, Some(name)),
        };
        key.unwrap_or_else(|| client.to_string())
    }
}

fn pick_failed(error: PickError) -> Response<ResponseBody> {
    problem(match error {
        PickError::NoNodes => ProblemKind::NoNode,
        PickError::AllAtLimit => ProblemKind::Overloaded,
    })
}

/// Input of the balancer: the hash key, and the location of the caller.
struct RoutingHints<'a> {
    key: String,
    region: Cow<'a, str>,
    zone: Cow<'a, str>,
}

fn header_text(headers: &HeaderMap, name: Option<&HeaderName>) -> Option<String> {
    headers.get(name?)?.to_str().ok().map(str::to_owned)
}

/// Returns the outcome for the balancer. A 503 is no failure, because an unavailable store makes all nodes return it.
fn outcome(status: StatusCode) -> Outcome {
    match status {
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Outcome::Failure,
        StatusCode::SERVICE_UNAVAILABLE => Outcome::Refused,
        _ => Outcome::Success,
    }
}

fn prepared(
    request: Request<RequestBody>,
    peer: SocketAddr,
    trusted: &crate::config::Networks,
    node: &http::uri::Authority,
) -> Request<RequestBody> {
    let (mut parts, body) = request.into_parts();
    let is_chunked = !body.is_empty() && !parts.headers.contains_key(header::CONTENT_LENGTH);
    prepare_request(&mut parts, peer, trusted, node, is_chunked);
    Request::from_parts(parts, body)
}

fn copy_without_body(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Closes the client's connection after the response.
fn closing(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Returns a problem response of the gateway itself.
pub(super) fn problem(problem: impl Into<Problem>) -> Response<ResponseBody> {
    problem.into().into_response().map(ResponseBody::Own)
}
