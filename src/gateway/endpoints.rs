//! What the gateway answers itself: its health, its metrics, and what it knows of its nodes.

use std::net::SocketAddr;

use axum::{
    Json, Router,
    body::Body,
    extract::{ConnectInfo, Request as OwnRequest, State},
    http::{StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response as OwnResponse},
    routing::{get, put},
};
use http::{Request, Response};
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

use super::{Gateway, body::ResponseBody, spawn::InstanceView};
use crate::{
    audit::{self, Actor},
    balancer::{Algorithm, Node},
    metrics::OPENMETRICS,
    web::{ClientBody, Problem, ProblemKind, address, auth, problem},
};

/// Whether the gateway answers at a path itself.
pub(super) fn is_own(path: &str) -> bool {
    path == "/metrics" || path.starts_with("/v1/health/") || is_at(path, "/v1/operator/gateway")
}

/// Whether a path is for operators.
pub(super) fn is_operators(path: &str) -> bool {
    ["/metrics", "/v1/operator", "/console"].into_iter().any(|prefix| is_at(path, prefix))
}

fn is_at(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What the gateway knows.
#[derive(Debug, Serialize)]
struct GatewayView {
    algorithm: Algorithm,
    ready: bool,
    draining: bool,
    /// Requests passed on so far.
    requests: u64,
    /// Requests made again on another node.
    retries: u64,
    /// Requests not made again for want of budget.
    retries_refused: u64,
    nodes: Vec<NodeView>,
    /// The instances that this gateway runs itself.
    spawned: Vec<InstanceView>,
}

/// A node as the gateway sees it.
#[derive(Debug, Serialize)]
struct NodeView {
    id: String,
    url: String,
    is_healthy: bool,
    draining: bool,
    /// Whether it gets nothing for a while, as it failed several requests in a row.
    ejected: bool,
    current_connections: u64,
    max_connections: u32,
    /// Requests that have ended.
    requests: u64,
    /// Of these, those that failed.
    errors: u64,
    /// Mean of the last ten, in seconds.
    average_response_time: f64,
    weight: u32,
    region: String,
    zone: String,
    /// Connections that are kept for further requests.
    idle_connections: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    algorithm: Algorithm,
}

/// How many instances this gateway is to run.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Count {
    count: u32,
}

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
}

impl Gateway {
    /// The gateway's own endpoints.
    pub(super) fn own_router(&self) -> Router {
        let operators = Router::new()
            .route("/metrics", get(metrics))
            .route("/v1/operator/gateway", get(show))
            .route("/v1/operator/gateway/algorithm", put(set_algorithm))
            .route("/v1/operator/gateway/instances", put(set_count))
            .layer(from_fn_with_state(self.clone(), authorise));
        Router::new()
            .route("/v1/health/live", get(async || Json(Health { status: "ok" })))
            .route("/v1/health/ready", get(ready))
            .merge(operators)
            .fallback(problem::not_found)
            .method_not_allowed_fallback(problem::method_not_allowed)
            .with_state(self.clone())
    }

    /// Answers at one of the gateway's own paths.
    pub(super) async fn answer_itself(&self, request: Request<ClientBody>) -> Response<ResponseBody> {
        let router = self.0.own.get_or_init(|| self.own_router()).clone();
        match router.oneshot(request.map(Body::new)).await {
            Ok(mut response) => {
                response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
                response.map(ResponseBody::Own)
            }
            Err(impossible) => match impossible {},
        }
    }

    /// Whether it can pass requests on.
    pub(super) fn is_ready(&self) -> bool {
        let spawned = self.0.spawner.as_ref().is_none_or(|spawner| spawner.has_started());
        !self.0.draining.is_cancelled() && spawned && self.0.nodes.any_is_well()
    }
}

async fn authorise(State(gateway): State<Gateway>, request: OwnRequest, next: Next) -> OwnResponse {
    let is_open = gateway.0.operators_apart && request.uri().path() == "/metrics";
    let token = auth::bearer(request.headers());
    if is_open || token.is_some_and(|token| gateway.0.operator_tokens.accept(token)) {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let trusted = &gateway.0.policy.trusted_proxies;
    let address = peer.map(|ConnectInfo(peer)| address::of_client(peer.ip(), request.headers(), trusted)).transpose();
    let address = match address {
        Ok(address) => address,
        Err(error) => return Problem::from(error).into_response(),
    };
    if token.is_some() {
        return auth::wrong_operator_token(&gateway.0.guesses, address).into_response();
    }
    gateway.0.guesses.count_missing();
    audit::record(audit::Kind::OperatorRefused, None, Actor::Nobody, address);
    ProblemKind::OperatorOnly.into_response()
}

async fn ready(State(gateway): State<Gateway>) -> (StatusCode, Json<Health>) {
    if gateway.is_ready() {
        (StatusCode::OK, Json(Health { status: "ready" }))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "not ready" }))
    }
}

async fn metrics(State(gateway): State<Gateway>) -> OwnResponse {
    ([(header::CONTENT_TYPE, OPENMETRICS)], gateway.0.metrics.text()).into_response()
}

async fn show(State(gateway): State<Gateway>) -> Json<GatewayView> {
    let (requests, retries, retries_refused) = gateway.0.metrics.totals();
    let nodes = gateway.0.nodes.balancer.nodes();
    Json(GatewayView {
        algorithm: gateway.0.nodes.balancer.algorithm(),
        ready: gateway.is_ready(),
        draining: gateway.0.draining.is_cancelled(),
        requests,
        retries,
        retries_refused,
        nodes: nodes.iter().map(|node| view(&gateway, node)).collect(),
        spawned: gateway.0.spawner.as_ref().map(|spawner| spawner.instances()).unwrap_or_default(),
    })
}

fn view(gateway: &Gateway, node: &Node) -> NodeView {
    let (spec, stats) = (node.spec(), node.stats());
    NodeView {
        id: spec.id.clone(),
        url: spec.url.clone(),
        is_healthy: stats.healthy,
        draining: stats.draining,
        ejected: stats.ejected_until.is_some_and(|until| until > std::time::Instant::now()),
        current_connections: stats.in_flight,
        max_connections: spec.max_connections,
        requests: stats.requests,
        errors: stats.errors,
        average_response_time: stats.average_response_time.as_secs_f64(),
        weight: spec.weight,
        region: spec.region.clone(),
        zone: spec.zone.clone(),
        idle_connections: gateway.0.nodes.upstream(&spec.id).map_or(0, |upstream| upstream.idle_connections()),
    }
}

/// Until the gateway ends, or the fleet's operators choose another for all gateways.
async fn set_algorithm(State(gateway): State<Gateway>, choice: Sent<Choice>) -> OwnResponse {
    let Ok(Json(Choice { algorithm })) = choice else {
        let names = Algorithm::ALL.map(Algorithm::name).join(", ");
        return wrong("algorithm", &format!("must be one of {names}"));
    };
    tracing::info!(target: crate::log::AUDIT_TARGET, event = "algorithm_changed", %algorithm, "an operator chose an algorithm");
    gateway.0.nodes.balancer.set_algorithm(algorithm, std::time::Instant::now());
    StatusCode::NO_CONTENT.into_response()
}

/// As far as the bounds that it was started with allow; answers with how many there will be.
async fn set_count(State(gateway): State<Gateway>, count: Sent<Count>) -> OwnResponse {
    let Ok(Json(Count { count })) = count else { return wrong("count", "must be a number") };
    let Some(spawner) = &gateway.0.spawner else {
        return Problem::from(ProblemKind::NotFound).with_detail("This gateway runs no instances.").into_response();
    };
    let count = spawner.choose(count);
    tracing::info!(target: crate::log::AUDIT_TARGET, event = "instances_changed", count, "an operator chose how many instances run");
    Json(Count { count }).into_response()
}

type Sent<T> = Result<Json<T>, axum::extract::rejection::JsonRejection>;

fn wrong(field: &str, detail: &str) -> OwnResponse {
    Problem::field(ProblemKind::Invalid, field, detail).into_response()
}
