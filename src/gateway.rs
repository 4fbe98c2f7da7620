//! The gateway: one address for many nodes. It picks a node for each request, passes the request on, and the response
//! back, piece by piece.
//!
//! What must hold: a request is made again on another node only if nothing of it was sent, or if it is a `GET` or `HEAD`
//! without a body, and only within a budget; a request counts on its node until the last byte of its response has gone out;
//! what a client says of itself is passed on only if it is a trusted proxy; a node that fails is picked no more.
//!
//! `forward` is a request's way. `follow` keeps up with the fleet, `spawn` runs a fleet of its own on this machine,
//! `endpoints` answers what the gateway answers itself.

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

/// How requests are passed on.
#[derive(Debug, Clone)]
pub(crate) struct GatewayPolicy {
    pub(crate) hash_by: HashBy,
    /// Where callers are that don't say.
    pub(crate) region: String,
    pub(crate) zone: String,
    /// The headers that say where a caller is.
    pub(crate) region_header: Option<HeaderName>,
    pub(crate) zone_header: Option<HeaderName>,
    pub(crate) trusted_proxies: Networks,
    /// How long a node may take to begin its response, and then to send nothing.
    pub(crate) timeout: Duration,
    /// How long a client may take for each part of a body.
    pub(crate) body_timeout: Duration,
}

/// The gateway; clones share it.
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
    /// Whether operators have a listener of their own, where metrics are open.
    operators_apart: bool,
    connections: Connections,
    draining: CancellationToken,
    spawner: Option<spawn::Spawner>,
    /// The gateway's own endpoints.
    own: OnceLock<axum::Router>,
}

impl Gateway {
    /// Answers a request; `is_operators` where operators' endpoints are to be there.
    async fn answer(&self, mut request: Request<ClientBody>, is_operators: bool) -> Response<ResponseBody> {
        let peer = request.extensions_mut().remove::<ConnectInfo<SocketAddr>>();
        // The listener gives every request one.
        let peer = peer.map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |ConnectInfo(peer)| peer);
        let path = request.uri().path();
        if !is_operators && endpoints::is_operators(path) {
            return forward::problem(ProblemKind::NotFound);
        }
        if endpoints::is_own(path) {
            request.extensions_mut().insert(ConnectInfo(peer));
            return self.answer_itself(request).await;
        }
        let begun = Instant::now();
        let response = self.forward(request, peer).await;
        self.0.metrics.count(response.status(), begun.elapsed());
        response
    }
}
