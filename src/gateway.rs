//! The gateway: a load balancer in front of the nodes of a fleet. It picks a node for each request and streams the request
//! and the response.
//!
//! Invariants:
//! - A request is retried on another node only if no byte of it was sent, or if it is a `GET` or `HEAD` without a body, and
//!   only within the retry budget.
//! - A request counts as in flight on its node until the end of its response, except while the client receives it.
//! - Forwarding headers are accepted only from trusted proxies.
//! - An unhealthy node receives no requests.
//!
//! `forward` handles a request. `follow` takes the nodes from the fleet, `spawn` runs a fleet on this machine, `endpoints`
//! has the gateway's own routes.

mod body;
mod budget;
mod endpoints;
mod follow;
mod forward;
mod headers;
mod metrics;
mod nodes;
mod run;
mod spawn;
mod upstream;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::extract::ConnectInfo;
use http::{HeaderName, Request, Response};
use tokio_util::sync::CancellationToken;

pub use body::ResponseBody;
pub(crate) use endpoints::document;
pub(crate) use nodes::authority;
pub use run::{GatewayServer, NodeSource};
pub use spawn::SpawnCount;

use self::{budget::RetryBudget, metrics::Metrics, nodes::Nodes};
use crate::{
    config::{HashBy, Networks, OperatorTokens},
    throttle::GuessLimiter,
    web::{ClientBody, Connections, ProblemKind},
};

/// Settings of request forwarding.
#[derive(Debug, Clone)]
pub(crate) struct GatewayPolicy {
    pub(crate) hash_by: HashBy,
    /// Region and zone of callers without a region or zone header.
    pub(crate) region: String,
    pub(crate) zone: String,
    /// Request headers with the region and the zone of the caller.
    pub(crate) region_header: Option<HeaderName>,
    pub(crate) zone_header: Option<HeaderName>,
    pub(crate) trusted_proxies: Networks,
    /// Timeout for the head of a response, and for each pause of its body.
    pub(crate) timeout: Duration,
    /// Time that a client may take for each part of a request body.
    pub(crate) body_timeout: Duration,
}

/// A handle of the gateway; clones share its state.
#[derive(Debug, Clone)]
pub(crate) struct Gateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: GatewayPolicy,
    nodes: Nodes,
    budget: RetryBudget,
    metrics: Metrics,
    operator_tokens: OperatorTokens,
    guesses: GuessLimiter,
    /// Whether there is an operator listener. Metrics need no token there.
    has_operator_listener: bool,
    connections: Connections,
    draining: CancellationToken,
    spawner: Option<spawn::Spawner>,
    own_router: OnceLock<axum::Router>,
}

impl Gateway {
    /// Answers a request. `serves_operators` says whether its listener has the operator endpoints.
    async fn handle(&self, mut request: Request<ClientBody>, serves_operators: bool) -> Response<ResponseBody> {
        let peer = request.extensions_mut().remove::<ConnectInfo<SocketAddr>>();
        // The listener sets the peer of every request.
        let peer = peer.map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |ConnectInfo(peer)| peer);
        let path = request.uri().path();
        if !serves_operators && endpoints::is_operator_path(path) {
            return forward::problem(ProblemKind::NotFound);
        }
        if endpoints::is_own_path(path) {
            request.extensions_mut().insert(ConnectInfo(peer));
            return self.handle_own(request).await;
        }
        let started = Instant::now();
        let response = self.forward(request, peer).await;
        self.0.metrics.count(response.status(), started.elapsed());
        response
    }
}
