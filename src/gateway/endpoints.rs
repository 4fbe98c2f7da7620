//! What the gateway answers itself: its health, its metrics, and what it knows of its nodes.

use std::net::{IpAddr, SocketAddr};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{ConnectInfo, Request as OwnRequest, State},
    http::{StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response as OwnResponse},
    routing::get,
};
use http::{Request, Response};
use serde::{Deserialize, Serialize};
use symbolon_balancer::{Algorithm, Node};
use tower::ServiceExt;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Gateway, body::ResponseBody, spawn::InstanceView};
use crate::{
    audit::{self, Actor},
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

/// A gateway and its nodes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Gateway)]
struct GatewayView {
    /// The load-balancing algorithm in force.
    #[schema(value_type = String, example = "peak_ewma")]
    algorithm: Algorithm,
    /// Whether it can pass requests on.
    ready: bool,
    /// Whether it is about to stop.
    draining: bool,
    /// Requests passed on so far.
    #[schema(example = 48211)]
    requests: u64,
    /// Requests repeated on another node.
    #[schema(example = 3)]
    retries: u64,
    /// Requests not repeated because the retry budget was used up.
    #[schema(example = 0)]
    retries_refused: u64,
    /// The nodes that it balances over.
    nodes: Vec<NodeView>,
    /// The instances that it runs itself.
    spawned: Vec<InstanceView>,
}

/// A node as the gateway sees it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = GatewayNode)]
struct NodeView {
    /// The node's id.
    #[schema(example = "instance-1")]
    id: String,
    /// Its address.
    #[schema(example = "http://10.0.0.7:8080")]
    url: String,
    /// Whether its health checks pass.
    is_healthy: bool,
    /// Whether it is about to leave.
    draining: bool,
    /// Whether it gets no requests for a while, because several failed in a row.
    ejected: bool,
    /// Requests of this gateway in flight.
    #[schema(example = 4)]
    current_connections: u64,
    /// The most requests in flight.
    #[schema(example = 1000)]
    max_connections: u32,
    /// Requests that have ended.
    #[schema(example = 16070)]
    requests: u64,
    /// Requests that failed.
    #[schema(example = 0)]
    errors: u64,
    /// Mean response time of the last ten requests, in seconds.
    #[schema(example = 0.0021)]
    average_response_time: f64,
    /// Its share of the traffic, relative to other nodes.
    #[schema(example = 1)]
    weight: u32,
    /// Its region.
    #[schema(example = "default")]
    region: String,
    /// Its zone.
    #[schema(example = "default")]
    zone: String,
    /// Connections kept for further requests.
    #[schema(example = 8)]
    idle_connections: usize,
}

/// A load-balancing algorithm.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = GatewayAlgorithm, example = json!({"algorithm": "least_connections"}))]
#[serde(deny_unknown_fields)]
struct Choice {
    /// Its name.
    #[schema(value_type = String)]
    algorithm: Algorithm,
}

/// A number of instances.
#[derive(Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[schema(as = InstanceCount, example = json!({"count": 3}))]
#[serde(deny_unknown_fields)]
struct Count {
    /// How many instances the gateway runs.
    count: u32,
}

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
}

/// The client address of an operator's request, for the audit log.
#[derive(Debug, Clone, Copy)]
struct OperatorAddress(Option<IpAddr>);

/// Returns the OpenAPI document of the endpoints that only gateways have.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    operator_routes().split_for_parts().1
}

fn operator_routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(set_algorithm)).routes(routes!(set_count))
}

impl Gateway {
    /// The gateway's own endpoints.
    pub(super) fn own_router(&self) -> Router {
        let operators = Router::from(operator_routes())
            .route("/metrics", get(metrics))
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

async fn authorise(State(gateway): State<Gateway>, mut request: OwnRequest, next: Next) -> OwnResponse {
    if gateway.0.operators_apart && request.uri().path() == "/metrics" {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let trusted = &gateway.0.policy.trusted_proxies;
    let address =
        peer.map(|ConnectInfo(peer)| address::client_address(peer.ip(), request.headers(), trusted)).transpose();
    let token = auth::bearer(request.headers());
    if token.is_some_and(|token| gateway.0.operator_tokens.accept(token)) {
        // The right token is accepted whatever a proxy wrote.
        request.extensions_mut().insert(OperatorAddress(address.unwrap_or_default()));
        return next.run(request).await;
    }
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

/// Shows the gateway that answers and its nodes.
#[utoipa::path(
    get, path = "/v1/operator/gateway", tag = "gateway", operation_id = "gateway",
    security(("operator_token" = [])),
    responses((status = 200, description = "The gateway.", body = GatewayView))
)]
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

/// Chooses this gateway's load-balancing algorithm, until it stops or an algorithm is chosen for the whole fleet.
#[utoipa::path(
    put, path = "/v1/operator/gateway/algorithm", tag = "gateway", operation_id = "choose_gateway_algorithm",
    security(("operator_token" = [])),
    request_body = Choice,
    responses((status = 204, description = "Chosen."), (status = 422, description = "invalid-value"))
)]
async fn set_algorithm(
    State(gateway): State<Gateway>,
    Extension(OperatorAddress(address)): Extension<OperatorAddress>,
    choice: Sent<Choice>,
) -> OwnResponse {
    let Ok(Json(Choice { algorithm })) = choice else {
        let names = Algorithm::NAMES.join(", ");
        return wrong("algorithm", &format!("must be one of {names}"));
    };
    gateway.0.nodes.balancer.set_algorithm(algorithm, std::time::Instant::now());
    audit::record_of_fleet(audit::Kind::AlgorithmChosen, algorithm.name(), Actor::Operator, address);
    StatusCode::NO_CONTENT.into_response()
}

/// Chooses how many instances this gateway runs, within the bounds that it was started with.
#[utoipa::path(
    put, path = "/v1/operator/gateway/instances", tag = "gateway", operation_id = "choose_gateway_instances",
    security(("operator_token" = [])),
    request_body = Count,
    responses(
        (status = 200, description = "The number of instances that will run.", body = Count),
        (status = 404, description = "not-found"),
        (status = 422, description = "invalid-value"),
    )
)]
async fn set_count(
    State(gateway): State<Gateway>,
    Extension(OperatorAddress(address)): Extension<OperatorAddress>,
    count: Sent<Count>,
) -> OwnResponse {
    let Ok(Json(Count { count })) = count else { return wrong("count", "must be a number") };
    let Some(spawner) = &gateway.0.spawner else {
        return Problem::from(ProblemKind::NotFound).with_detail("This gateway runs no instances.").into_response();
    };
    let count = spawner.choose(count);
    audit::record_of_fleet(audit::Kind::InstancesChosen, &count.to_string(), Actor::Operator, address);
    Json(Count { count }).into_response()
}

type Sent<T> = Result<Json<T>, axum::extract::rejection::JsonRejection>;

fn wrong(field: &str, detail: &str) -> OwnResponse {
    Problem::field(ProblemKind::Invalid, field, detail).into_response()
}
