//! A request's way through: a node is picked, the request goes there, and the response comes back.

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
    body::{Forwarded, ReadError, RequestBody, ResponseBody, Upload},
    headers::{
        has_plain_length, has_plain_target, has_plain_values, is_plainly_coded, prepare_request, prepare_response,
    },
    upstream::{self, Reusable, SendError},
};
use crate::config::HashBy;
use crate::{
    log::repeats::Repeats,
    web::{ClientBody, Problem, ProblemKind, address, auth},
};

/// Headers of a request that is passed on: nodes take 100, and up to eight are added.
const MAX_HEADERS: usize = 92;

/// On how many nodes a request is tried at most.
const ATTEMPTS: usize = 3;

/// An attempt that ended without a response.
struct Failed {
    node: Arc<Node>,
    /// Whether that may be the connection's fault, and not the node's.
    was_kept: bool,
    /// What failed; nothing, if the node did not begin its response in time.
    error: Option<SendError>,
}

impl Failed {
    /// Whether the request's body broke off or was none, and the node has nothing to do with it.
    fn is_the_clients(&self) -> bool {
        matches!(&self.error, Some(SendError::Connection { source, .. }) if source.is_user())
    }

    /// Whether it makes no sense to ask this node again.
    fn was_final_for(&self, node: &Node) -> bool {
        !self.was_kept && self.node.spec().id == node.spec().id
    }
}

impl Gateway {
    /// Passes a request on.
    pub(super) async fn forward(&self, request: Request<ClientBody>, peer: SocketAddr) -> Response<ResponseBody> {
        if request.method() == Method::CONNECT {
            return problem(ProblemKind::MethodNotAllowed);
        }
        let (parts, body) = request.into_parts();
        // What follows on such a connection may not be what it seems.
        if !has_plain_target(&parts) {
            return closing(problem(ProblemKind::Malformed));
        }
        if !is_plainly_coded(&parts.headers) {
            return closing(problem(ProblemKind::UnknownCoding));
        }
        if !has_plain_length(&parts.headers) || !has_plain_values(&parts.headers) {
            return closing(problem(ProblemKind::Malformed));
        }
        if parts.headers.len() > MAX_HEADERS {
            return closing(problem(ProblemKind::TooManyHeaders));
        }
        let client = match address::client_address(peer.ip(), &parts.headers, &self.0.policy.trusted_proxies) {
            Ok(client) => client,
            Err(error) => return closing(problem(error)),
        };
        let place = self.place(&parts.headers, client);
        let (body, upload) = match RequestBody::read_ahead(body, self.0.policy.body_timeout).await {
            Ok(read) => read,
            Err(ReadError::TooSlow) => return closing(problem(ProblemKind::BodyTimeout)),
            Err(ReadError::BrokenOff) => return closing(problem(ProblemKind::Malformed)),
        };
        let may_repeat = body.is_empty() && [Method::GET, Method::HEAD].contains(&parts.method);
        let inner = &self.0;
        inner.budget.deposit();
        let mut request = Request::from_parts(parts, body);
        let mut is_prepared = false;
        let mut failed: Option<Failed> = None;
        for attempt in 1.. {
            let caller = Caller {
                key: &place.key,
                region: &place.region,
                zone: &place.zone,
                failed: failed.as_ref().map(|failed| failed.node.spec().id.as_str()),
            };
            let lease = match inner.nodes.balancer.pick(&caller, Instant::now()) {
                Ok(lease) => lease,
                Err(error) => return self.refuse(error),
            };
            if let Some(failed) = failed.as_ref().filter(|failed| failed.was_final_for(lease.node())) {
                lease.end(Outcome::Cancelled, Instant::now());
                return self.fail(failed);
            }
            let Some(upstream) = inner.nodes.upstream(&lease.node().spec().id) else {
                // It was taken out in between, which says nothing of it.
                continue;
            };
            if !is_prepared {
                request = prepared(request, peer, &inner.policy.trusted_proxies, upstream.authority());
                is_prepared = true;
            }
            let copy = may_repeat.then(|| copy_of(&request));
            let sent = tokio::time::timeout(inner.policy.timeout, upstream.send(request)).await;
            let node = Arc::clone(lease.node());
            let (failure, again) = match sent {
                Ok(Ok((response, connection))) => return self.pass_back(response, lease, connection, upload),
                Ok(Err(upstream::Failed { error, unsent, was_kept })) => {
                    (Failed { node, was_kept, error: Some(error) }, unsent.map(|request| *request).or(copy))
                }
                Err(_) if upload.waits_for_client() => return closing(problem(ProblemKind::BodyTimeout)),
                Err(_) => (Failed { node, was_kept: false, error: None }, copy),
            };
            if upload.was_too_slow() {
                return closing(problem(ProblemKind::BodyTimeout));
            }
            if failure.is_the_clients() {
                tracing::debug!("a request's body broke off");
                return problem(ProblemKind::Malformed);
            }
            // A node that answers before it has read all, and closes, breaks off what is still being sent to it.
            let is_the_nodes = upload.has_ended() || !matches!(failure.error, Some(SendError::Connection { .. }));
            lease.end(if is_the_nodes { Outcome::Failure } else { Outcome::Cancelled }, Instant::now());
            match again {
                Some(again) if attempt < ATTEMPTS => {
                    if !inner.budget.withdraw(Instant::now()) {
                        inner.metrics.count_refused_retry();
                        return self.fail(&failure);
                    }
                    inner.metrics.count_retry();
                    tracing::debug!(node = failure.node.spec().id, attempt, "a request is made again");
                    (request, failed) = (again, Some(failure));
                }
                _ => return self.fail(&failure),
            }
        }
        problem(ProblemKind::NoNode)
    }

    fn pass_back(
        &self,
        mut response: Response<Incoming>,
        lease: Lease,
        connection: Option<Reusable>,
        upload: Arc<Upload>,
    ) -> Response<ResponseBody> {
        // Nobody asked for another protocol or coding, and nobody knows where a body of two lengths ends.
        let headers = response.headers();
        let is_plain = is_plainly_coded(headers) && has_plain_length(headers);
        if response.status() == StatusCode::SWITCHING_PROTOCOLS || !is_plain {
            let (node, status) = (lease.node().spec().id.clone(), response.status().as_u16());
            lease.end(Outcome::Failure, Instant::now());
            static FAILURES: Repeats = Repeats::new(|count| tracing::warn!(count, "more responses can't be passed on"));
            FAILURES.record(|| tracing::warn!(node, status, "a node's response can't be passed on"));
            return problem(ProblemKind::BadGateway);
        }
        // A length beside a coding is to be ignored, and was meant to deceive somebody (RFC 9112, section 6.3).
        let has_both = response.headers().contains_key(header::TRANSFER_ENCODING)
            && response.headers_mut().remove(header::CONTENT_LENGTH).is_some();
        let connection = connection.filter(|_| !has_both);
        prepare_response(response.headers_mut());
        if !upload.has_ended() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        *response.version_mut() = Version::HTTP_11;
        let outcome = outcome(response.status());
        let stall = self.0.policy.timeout;
        response.map(|body| ResponseBody::Forwarded(Forwarded::new(body, lease, outcome, connection, upload, stall)))
    }

    fn refuse(&self, error: PickError) -> Response<ResponseBody> {
        problem(match error {
            PickError::NoNodes => ProblemKind::NoNode,
            PickError::AllAtLimit => ProblemKind::Overloaded,
        })
    }

    fn fail(&self, failed: &Failed) -> Response<ResponseBody> {
        let node = failed.node.spec().id.as_str();
        match &failed.error {
            None => {
                static FAILURES: Repeats =
                    Repeats::new(|count| tracing::warn!(count, "more requests were not answered in time"));
                FAILURES.record(|| tracing::warn!(node, "a node did not answer in time"));
                problem(ProblemKind::GatewayTimeout)
            }
            Some(error) => {
                static FAILURES: Repeats =
                    Repeats::new(|count| tracing::warn!(count, "more requests were failed by nodes"));
                FAILURES.record(|| {
                    tracing::warn!(node, error = error as &dyn std::error::Error, "a node failed a request");
                });
                problem(ProblemKind::BadGateway)
            }
        }
    }

    /// What a pick goes by.
    fn place(&self, headers: &HeaderMap, client: IpAddr) -> Place<'_> {
        let policy = &self.0.policy;
        let by_key = self.0.nodes.balancer.algorithm() == Algorithm::Hash;
        Place {
            key: if by_key { self.key(headers, client) } else { String::new() },
            region: said(headers, policy.region_header.as_ref()).map_or(Cow::Borrowed(&policy.region), Cow::Owned),
            zone: said(headers, policy.zone_header.as_ref()).map_or(Cow::Borrowed(&policy.zone), Cow::Owned),
        }
    }

    fn key(&self, headers: &HeaderMap, client: IpAddr) -> String {
        let key = match &self.0.policy.hash_by {
            HashBy::User => auth::claimed_token(headers).map(|token| token.user_id().to_string()),
            HashBy::Header(name) => said(headers, Some(name)),
        };
        key.unwrap_or_else(|| client.to_string())
    }
}

/// Where a caller is, and what its requests are held together by.
struct Place<'a> {
    key: String,
    region: Cow<'a, str>,
    zone: Cow<'a, str>,
}

fn said(headers: &HeaderMap, name: Option<&HeaderName>) -> Option<String> {
    headers.get(name?)?.to_str().ok().map(str::to_owned)
}

/// What an answer says of its node. A dead store makes all nodes refuse some requests, and ejects none.
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

/// A request without a body, once more.
fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// A response after which its connection ends.
fn closing(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The gateway's own refusal.
pub(super) fn problem(problem: impl Into<Problem>) -> Response<ResponseBody> {
    problem.into().into_response().map(ResponseBody::Own)
}
