//! A Redis Cluster as separate nodes, each with its own connection and circuit breaker, so that a node that is down affects
//! the users of its slots only. (fred's own Cluster client reopens all connections before it sends anything to any node.)
//!
//! All nodes are asked for the layout of the slots every second, and at once when a node fails or redirects a command. The
//! most frequent answer counts, so that a primary which does not know that it was replaced has no effect.

mod layout;

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
    time::Duration,
};

use fred::{
    error::{Error, ErrorKind},
    types::config::{Server, ServerConfig},
};
use futures_util::future::join_all;
use tokio::sync::Notify;

use super::{command::Command, connection::Connector, errors::SLOT_UNKNOWN, node::Node};
use crate::sync::RwLockExt;
use layout::{Address, Layout};

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time between two requests for the layout.
const MIN_REFRESH_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Cluster {
    connector: Connector,
    /// Nodes to ask while no node is known or none answers.
    configured: Vec<Server>,
    replicas: u32,
    state: RwLock<Arc<ClusterState>>,
    stale: Notify,
}

/// The most recent layout and its nodes.
#[derive(Debug, Default)]
struct ClusterState {
    layout: Layout,
    nodes: BTreeMap<Address, Arc<Node>>,
}

/// Redirection of a command to another node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    /// Whether only this command is redirected (`ASK`), because the slot is being migrated.
    pub(super) asking: bool,
    to: Address,
}

impl Redirect {
    /// Parses the redirection in an error such as `MOVED 3999 127.0.0.1:6381`. Returns `None` without a host, which means the
    /// answering node's own host; the next layout shows it.
    pub(super) fn parse(error: &Error) -> Option<Self> {
        let mut words = error.details().split(' ');
        let asking = match words.next()? {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let (host, port) = words.nth(1)?.rsplit_once(':')?;
        let to = Address { host: host.to_owned(), port: port.parse().ok()? };
        (!host.is_empty()).then_some(Self { asking, to })
    }
}

impl Cluster {
    pub(super) fn new(connector: Connector, configured: Vec<Server>, replicas: u32) -> Self {
        Self { connector, configured, replicas, state: RwLock::default(), stale: Notify::new() }
    }

    fn state(&self) -> Arc<ClusterState> {
        Arc::clone(&self.state.read_locked())
    }

    /// Returns the node that owns the slot of `key`.
    pub(super) fn owner(&self, key: &str) -> Result<Arc<Node>, Error> {
        let state = self.state();
        let owner = state.layout.owner(fred::util::redis_keyslot(key.as_bytes()));
        let node = owner.and_then(|address| state.nodes.get(address)).cloned();
        node.ok_or_else(|| Error::new(ErrorKind::Cluster, SLOT_UNKNOWN))
    }

    /// Returns all primaries.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.state().nodes.values().cloned().collect()
    }

    /// Returns the target of a redirection.
    pub(super) fn redirect_target(&self, redirect: &Redirect) -> Arc<Node> {
        let mut state = self.state.write_locked();
        if let Some(node) = state.nodes.get(&redirect.to) {
            return Arc::clone(node);
        }
        let node = Arc::new(self.open(&state.layout, &redirect.to));
        let mut nodes = state.nodes.clone();
        nodes.insert(redirect.to.clone(), Arc::clone(&node));
        *state = Arc::new(ClusterState { layout: state.layout.clone(), nodes });
        node
    }

    fn open(&self, layout: &Layout, address: &Address) -> Node {
        let server = Server::new_with_tls(address.host.as_str(), address.port, layout.name(address));
        Node::open(&self.connector, &ServerConfig::Centralized { server }, self.replicas)
    }

    fn open_configured(&self, server: &Server) -> (Address, Arc<Node>) {
        let node = Node::open(&self.connector, &ServerConfig::Centralized { server: server.clone() }, 0);
        (Address { host: server.host.to_string(), port: server.port }, Arc::new(node))
    }

    /// Marks the layout as possibly outdated, so that it is requested soon.
    pub(super) fn mark_stale(&self) {
        self.stale.notify_one();
    }

    /// Keeps the layout up to date. Does not return.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut configured = BTreeMap::new();
        loop {
            let mut layout = fetch_layout(&self.state().nodes).await;
            if layout.is_none() {
                if configured.is_empty() {
                    configured = self.configured.iter().map(|server| self.open_configured(server)).collect();
                }
                layout = fetch_layout(&configured).await;
            }
            if let Some(layout) = layout {
                self.adopt(layout);
                configured.clear();
            }
            tokio::time::sleep(MIN_REFRESH_PAUSE).await;
            // The layout is requested again in both cases.
            let _ = tokio::time::timeout(REFRESH_INTERVAL, self.stale.notified()).await;
        }
    }

    /// Connects to new nodes and disconnects from former ones.
    fn adopt(&self, layout: Layout) {
        let mut state = self.state.write_locked();
        if state.layout == layout && state.nodes.len() == layout.primaries().count() {
            return;
        }
        let node = |address: &Address| {
            // A connection opened before the host name was known verifies the certificate for the wrong name.
            let node = state.nodes.get(address).filter(|_| state.layout.name(address) == layout.name(address));
            (address.clone(), node.cloned().unwrap_or_else(|| Arc::new(self.open(&layout, address))))
        };
        let nodes = layout.primaries().map(node).collect();
        *state = Arc::new(ClusterState { layout, nodes });
    }
}

/// Asks `nodes` for the layout and returns the most frequent answer.
async fn fetch_layout(nodes: &BTreeMap<Address, Arc<Node>>) -> Option<Layout> {
    let layouts = join_all(nodes.iter().map(async |(address, node)| {
        let answer = node.send_all(vec![Command::new("CLUSTER", ["SLOTS"])]).await.ok()?.pop()?;
        Layout::parse(answer, &address.host)
    }));
    most_common(layouts.await.into_iter().flatten())
}

fn most_common(layouts: impl Iterator<Item = Layout>) -> Option<Layout> {
    let mut counted = BTreeMap::<Layout, usize>::new();
    layouts.for_each(|layout| *counted.entry(layout).or_default() += 1);
    counted.into_iter().max_by_key(|(_, count)| *count).map(|(layout, _)| layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(text: &str) -> Option<Redirect> {
        Redirect::parse(&Error::new(ErrorKind::Cluster, text.to_owned()))
    }

    #[test]
    fn a_redirection_names_a_node_and_whether_the_slot_has_moved() {
        let to = |host: &str, port| Address { host: host.to_owned(), port };
        let moved = Redirect { asking: false, to: to("10.0.0.1", 6381) };
        assert_eq!(redirect("MOVED 3999 10.0.0.1:6381"), Some(moved));
        assert_eq!(redirect("ASK 3999 ::1:6381"), Some(Redirect { asking: true, to: to("::1", 6381) }));
        for other in ["MOVED 3999 :6381", "MOVED", "CLUSTERDOWN Hash slot not served", "ERR ASK 1 a:1"] {
            assert_eq!(redirect(other), None, "{other}");
        }
    }
}
