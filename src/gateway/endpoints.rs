//! The gateway's own endpoints: health, metrics, and operator endpoints.

use std::net::{IpAddr, SocketAddr};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{ConnectInfo, Request as AxumRequest, State, rejection::JsonRejection},
    http::{StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response as AxumResponse},
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

/// Returns whether the gateway answers requests to this path itself.
pub(super) fn is_own_path(path: &str) -> bool {
    path == "/metrics" || path.starts_with("/v1/health/") || has_path_prefix(path, "/v1/operator/gateway")
}

/// Returns whether the path is an operator endpoint, of the gateway or of an instance.
pub(super) fn is_operator_path(path: &str) -> bool {
    ["/metrics", "/v1/operator", "/console"].into_iter().any(|prefix| has_path_prefix(path, prefix))
}

fn has_path_prefix(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// State of a gateway and its nodes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Gateway)]
struct GatewayView {
    /// The load-balancing algorithm in force.
    #[schema(value_type = String, example = "peak_ewma")]
    algorithm: Algorithm,
    /// Whether it accepts requests and at least one node is available.
    ready: bool,
    /// Whether it is shutting down.
    draining: bool,
    /// Requests forwarded since its start.
    #[schema(example = 48211)]
    requests: u64,
    /// Requests sent again to another node.
    #[schema(example = 3)]
    retries: u64,
    /// Requests not sent again because the retry budget was used up.
    #[schema(example = 0)]
    retries_refused: u64,
    /// Nodes behind the gateway.
    nodes: Vec<NodeView>,
    /// Instances that the gateway runs as child processes.
    spawned: Vec<InstanceView>,
}

/// A node behind a gateway.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = GatewayNode)]
struct NodeView {
    /// Node id.
    #[schema(example = "instance-1")]
    id: String,
    /// Base URL of the node.
    #[schema(example = "http://10.0.0.7:8080")]
    url: String,
    /// Whether its health checks pass.
    is_healthy: bool,
    /// Whether it is shutting down.
    draining: bool,
    /// Whether it temporarily receives no requests, because several failed in a row.
    ejected: bool,
    /// Requests in flight from this gateway.
    #[schema(example = 4)]
    current_connections: u64,
    /// Maximum number of requests in flight.
    #[schema(example = 1000)]
    max_connections: u32,
    /// Completed requests.
    #[schema(example = 16070)]
    requests: u64,
    /// Failed requests.
    #[schema(example = 0)]
    errors: u64,
    /// Mean response time of the last ten requests, in seconds.
    #[schema(example = 0.0021)]
    average_response_time: f64,
    /// Relative share of the traffic.
    #[schema(example = 1)]
    weight: u32,
    /// Region of the node.
    #[schema(example = "default")]
    region: String,
    /// Zone of the node.
    #[schema(example = "default")]
    zone: String,
    /// Open connections without a request.
    #[schema(example = 8)]
    idle_connections: usize,
}

/// A load-balancing algorithm.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = GatewayAlgorithm, example = json!({"algorithm": "least_connections"}))]
#[serde(deny_unknown_fields)]
struct AlgorithmChoice {
    /// Name of the algorithm.
    #[schema(value_type = String)]
    algorithm: Algorithm,
}

/// Number of instances that a gateway runs.
#[derive(Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[schema(as = InstanceCount, example = json!({"count": 3}))]
#[serde(deny_unknown_fields)]
struct InstanceCount {
    /// Number of instances.
    count: u32,
}

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
}

/// Client address of an operator's request, for the audit log.
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
    pub(super) fn own_router(&self) -> Router {
        let operators = Router::from(operator_routes())
            .route("/metrics", get(metrics))
            .layer(from_fn_with_state(self.clone(), authorize));
        Router::new()
            .route("/v1/health/live", get(async || Json(Health { status: "ok" })))
            .route("/v1/health/ready", get(ready))
            .merge(operators)
            .fallback(problem::not_found)
            .method_not_allowed_fallback(problem::method_not_allowed)
            .with_state(self.clone())
    }

    /// Answers a request to one of the gateway's own paths.
    pub(super) async fn handle_own(&self, request: Request<ClientBody>) -> Response<ResponseBody> {
        let router = self.0.own_router.get_or_init(|| self.own_router()).clone();
        match router.oneshot(request.map(Body::new)).await {
            Ok(mut response) => {
                response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
                response.map(ResponseBody::Own)
            }
            Err(impossible) => match impossible {},
        }
    }

    /// Returns whether it is not draining, has started its instances, and has an available node.
    pub(super) fn is_ready(&self) -> bool {
        let spawned = self.0.spawner.as_ref().is_none_or(|spawner| spawner.has_started());
        !self.0.draining.is_cancelled() && spawned && self.0.nodes.any_available()
    }
}

async fn authorize(State(gateway): State<Gateway>, mut request: AxumRequest, next: Next) -> AxumResponse {
    if gateway.0.has_operator_listener && request.uri().path() == "/metrics" {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let trusted = &gateway.0.policy.trusted_proxies;
    let address =
        peer.map(|ConnectInfo(peer)| address::client_address(peer.ip(), request.headers(), trusted)).transpose();
    let token = auth::bearer(request.headers());
    if token.is_some_and(|token| gateway.0.operator_tokens.accept(token)) {
        // A valid token is accepted even if `X-Forwarded-For` is invalid.
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
    audit::record(audit::Kind::OperatorRefused, None, Actor::Anonymous, address);
    ProblemKind::OperatorOnly.into_response()
}

async fn ready(State(gateway): State<Gateway>) -> (StatusCode, Json<Health>) {
    if gateway.is_ready() {
        (StatusCode::OK, Json(Health { status: "ready" }))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "not ready" }))
    }
}

async fn metrics(State(gateway): State<Gateway>) -> AxumResponse {
    ([(header::CONTENT_TYPE, OPENMETRICS)], gateway.0.metrics.text()).into_response()
}

/// Returns the state of this gateway and its nodes.
#[utoipa::path(
    get, path = "/v1/operator/gateway", tag = "gateway", operation_id = "gateway",
    security(("operator_token" = [])),
    responses((status = 200, description = "State of the gateway.", body = GatewayView))
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
        nodes: nodes.iter().map(|node| node_view(&gateway, node)).collect(),
        spawned: gateway.0.spawner.as_ref().map(|spawner| spawner.instances()).unwrap_or_default(),
    })
}

fn node_view(gateway: &Gateway, node: &Node) -> NodeView {
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

/// Sets the load-balancing algorithm of this gateway.
///
/// It applies until the gateway stops or an algorithm is set for the whole fleet.
#[utoipa::path(
    put, path = "/v1/operator/gateway/algorithm", tag = "gateway", operation_id = "choose_gateway_algorithm",
    security(("operator_token" = [])),
    request_body = AlgorithmChoice,
    responses((status = 204, description = "The algorithm is set."), (status = 422, description = "invalid-value"))
)]
async fn set_algorithm(
    State(gateway): State<Gateway>,
    Extension(OperatorAddress(address)): Extension<OperatorAddress>,
    choice: Result<Json<AlgorithmChoice>, JsonRejection>,
) -> AxumResponse {
    let Ok(Json(AlgorithmChoice { algorithm })) = choice else {
        let names = Algorithm::NAMES.join(", ");
        return invalid("algorithm", &format!("must be one of {names}"));
    };
    gateway.0.nodes.balancer.set_algorithm(algorithm, std::time::Instant::now());
    audit::record_fleet_event(audit::Kind::AlgorithmChosen, algorithm.name(), Actor::Operator, address);
    StatusCode::NO_CONTENT.into_response()
}

/// Sets the number of instances that this gateway runs.
///
/// The number is clamped to the range given with `--spawn`. It applies until the next scaling decision that changes it.
#[utoipa::path(
    put, path = "/v1/operator/gateway/instances", tag = "gateway", operation_id = "choose_gateway_instances",
    security(("operator_token" = [])),
    request_body = InstanceCount,
    responses(
        (status = 200, description = "Number of instances that the gateway will run.", body = InstanceCount),
        (status = 404, description = "not-found"),
        (status = 422, description = "invalid-value"),
    )
)]
async fn set_count(
    State(gateway): State<Gateway>,
    Extension(OperatorAddress(address)): Extension<OperatorAddress>,
    count: Result<Json<InstanceCount>, JsonRejection>,
) -> AxumResponse {
    let Ok(Json(InstanceCount { count })) = count else { return invalid("count", "must be a number") };
    let Some(spawner) = &gateway.0.spawner else {
        return Problem::from(ProblemKind::NotFound).with_detail("This gateway runs no instances.").into_response();
    };
    let count = spawner.set_by_operator(count);
    audit::record_fleet_event(audit::Kind::InstancesChosen, &count.to_string(), Actor::Operator, address);
    Json(InstanceCount { count }).into_response()
}

fn invalid(field: &str, detail: &str) -> AxumResponse {
    Problem::field(ProblemKind::Invalid, field, detail).into_response()
}
