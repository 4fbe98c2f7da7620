//! The nodes behind the gateway, with the connections to each.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use http::{Uri, uri::Authority};
use symbolon_balancer::{Balancer, NodeSpec};

use super::upstream::{Upstream, UpstreamPolicy};
use crate::ticks::Ticks;

/// Interval of closing expired idle connections.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// The nodes and their connections. Every node in the balancer has an upstream.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) balancer: Arc<Balancer>,
    policy: UpstreamPolicy,
    upstreams: ArcSwap<HashMap<String, Arc<Upstream>>>,
}

impl Nodes {
    pub(super) fn new(balancer: Balancer, policy: UpstreamPolicy) -> Self {
        Self { balancer: Arc::new(balancer), policy, upstreams: ArcSwap::default() }
    }

    /// Replaces the nodes. Connections to a node whose address stays the same are kept.
    pub(super) fn set(&self, specs: Vec<NodeSpec>) {
        let before = self.upstreams.load();
        let mut upstreams = HashMap::new();
        let mut usable = Vec::new();
        for spec in specs {
            let Some(authority) = authority(&spec.url) else {
                tracing::warn!(node = spec.id, url = spec.url, "node ignored; its URL is not http://host:port");
                continue;
            };
            let kept = before.get(&spec.id).filter(|upstream| *upstream.authority() == authority).map(Arc::clone);
            let upstream = kept.unwrap_or_else(|| Arc::new(Upstream::new(authority, self.policy)));
            upstreams.insert(spec.id.clone(), upstream);
            usable.push(spec);
        }
        // The upstreams are stored first, so that a picked node always has one. If a node was removed meanwhile, `forward`
        // picks again.
        self.upstreams.store(Arc::new(upstreams));
        self.balancer.set_nodes(usable, Instant::now());
    }

    pub(super) fn upstream(&self, id: &str) -> Option<Arc<Upstream>> {
        self.upstreams.load().get(id).map(Arc::clone)
    }

    /// Returns whether at least one node has passed its health checks and does not drain.
    pub(super) fn any_available(&self) -> bool {
        self.balancer.nodes().iter().any(|node| {
            let stats = node.stats();
            stats.healthy && stats.checked_at.is_some() && !stats.draining
        })
    }

    /// Closes expired idle connections until it is dropped.
    pub(super) async fn reap(&self) {
        let mut ticks = Ticks::every(REAP_INTERVAL);
        loop {
            ticks.next().await;
            let now = Instant::now();
            self.upstreams.load_full().values().for_each(|upstream| upstream.reap(now));
        }
    }
}

/// Returns `host:port` of a URL of the form `http://host:port` or `http://host:port/`.
pub(crate) fn authority(url: &str) -> Option<Authority> {
    let parts = url.parse::<Uri>().ok()?.into_parts();
    let is_plain = parts.scheme? == http::uri::Scheme::HTTP && parts.path_and_query.is_none_or(|path| path == "/");
    parts.authority.filter(|authority| is_plain && !authority.as_str().contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_url_has_only_a_host_and_a_port() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("http://[::1]:8080/", Some("[::1]:8080")),
            ("http://node", Some("node")),
            ("https://node", None),
            ("http://user@node", None),
            ("http://node/path", None),
            ("node:80", None),
            ("", None),
        ] {
            assert_eq!(authority(url).as_ref().map(Authority::as_str), expected, "{url}");
        }
    }
}
