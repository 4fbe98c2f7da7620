//! A Redis Cluster as nodes of their own, each with its connection and its breaker: one that is down costs the users of its
//! slots only. (fred's own client for Clusters makes all connections anew before it sends anything to any node.)
//!
//! Which node has which slots is asked of all of them every second, and at once when a node fails or refers elsewhere; what
//! most of them say is taken, so that a primary which slept through its replacement does not win.

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

use super::{
    connection::{Command, Connector},
    node::Node,
};
use crate::sync::RwLockExt;
use layout::{Address, Layout};

/// What a command fails of that no node is known to be for.
pub(super) const SLOT_UNKNOWN: &str = "no node is known to have this slot";

const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// The least time between two questions for the layout.
const REFRESH_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Cluster {
    connector: Connector,
    /// Where to ask while no node is known or none answers.
    seeds: Vec<Server>,
    replicas: u32,
    known: RwLock<Arc<Known>>,
    outdated: Notify,
}

/// The nodes as they were found last.
#[derive(Debug, Default)]
struct Known {
    layout: Layout,
    nodes: BTreeMap<Address, Arc<Node>>,
}

/// Where a node sent a command instead of doing it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Referral {
    /// Whether only this command is meant, as the slot is on its way.
    pub(super) asking: bool,
    to: Address,
}

impl Referral {
    /// The referral in the answer of a node, such as `MOVED 3999 127.0.0.1:6381`; a node that gives no host means its own,
    /// and is asked for its layout instead.
    pub(super) fn of(error: &Error) -> Option<Self> {
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
    pub(super) fn new(connector: Connector, seeds: Vec<Server>, replicas: u32) -> Self {
        Self { connector, seeds, replicas, known: RwLock::default(), outdated: Notify::new() }
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read_locked())
    }

    /// The node that has the slot of `key`.
    pub(super) fn holder(&self, key: &str) -> Result<Arc<Node>, Error> {
        let known = self.known();
        let holder = known.layout.holder(fred::util::redis_keyslot(key.as_bytes()));
        let node = holder.and_then(|address| known.nodes.get(address)).cloned();
        node.ok_or_else(|| Error::new(ErrorKind::Cluster, SLOT_UNKNOWN))
    }

    /// All primaries.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.known().nodes.values().cloned().collect()
    }

    /// The node that another one referred to.
    pub(super) fn referred(&self, referral: &Referral) -> Arc<Node> {
        let mut known = self.known.write_locked();
        if let Some(node) = known.nodes.get(&referral.to) {
            return Arc::clone(node);
        }
        let node = Arc::new(self.open(&known.layout, &referral.to));
        let mut nodes = known.nodes.clone();
        nodes.insert(referral.to.clone(), Arc::clone(&node));
        *known = Arc::new(Known { layout: known.layout.clone(), nodes });
        node
    }

    fn open(&self, layout: &Layout, address: &Address) -> Node {
        let server = Server::new_with_tls(address.host.as_str(), address.port, layout.name(address));
        Node::open(&self.connector, &ServerConfig::Centralized { server }, self.replicas)
    }

    fn open_seed(&self, seed: &Server) -> (Address, Arc<Node>) {
        let node = Node::open(&self.connector, &ServerConfig::Centralized { server: seed.clone() }, 0);
        (Address { host: seed.host.to_string(), port: seed.port }, Arc::new(node))
    }

    /// Has the layout asked for soon.
    pub(super) fn doubt(&self) {
        self.outdated.notify_one();
    }

    /// Follows the layout for ever.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut seeds = BTreeMap::new();
        loop {
            let mut layout = ask(&self.known().nodes).await;
            if layout.is_none() {
                if seeds.is_empty() {
                    seeds = self.seeds.iter().map(|seed| self.open_seed(seed)).collect();
                }
                layout = ask(&seeds).await;
            }
            if let Some(layout) = layout {
                self.adopt(layout);
                seeds.clear();
            }
            tokio::time::sleep(REFRESH_PAUSE).await;
            // Either way it is asked for again.
            let _ = tokio::time::timeout(REFRESH_EVERY, self.outdated.notified()).await;
        }
    }

    /// Opens connections with new nodes and drops those with former ones.
    fn adopt(&self, layout: Layout) {
        let mut known = self.known.write_locked();
        if known.layout == layout && known.nodes.len() == layout.primaries().count() {
            return;
        }
        let node = |address: &Address| {
            // A connection that was opened before the host name was known checks for the wrong one.
            let node = known.nodes.get(address).filter(|_| known.layout.name(address) == layout.name(address));
            (address.clone(), node.cloned().unwrap_or_else(|| Arc::new(self.open(&layout, address))))
        };
        let nodes = layout.primaries().map(node).collect();
        *known = Arc::new(Known { layout, nodes });
    }
}

/// The layout as most of `nodes` tell it.
async fn ask(nodes: &BTreeMap<Address, Arc<Node>>) -> Option<Layout> {
    let told = join_all(nodes.iter().map(async |(address, node)| {
        let answer = node.ask(vec![Command::new("CLUSTER", ["SLOTS"])]).await.ok()?.pop()?;
        Layout::read(answer, &address.host)
    }));
    most_common(told.await.into_iter().flatten())
}

fn most_common(layouts: impl Iterator<Item = Layout>) -> Option<Layout> {
    let mut counted = BTreeMap::<Layout, usize>::new();
    layouts.for_each(|layout| *counted.entry(layout).or_default() += 1);
    counted.into_iter().max_by_key(|(_, count)| *count).map(|(layout, _)| layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn referral(text: &str) -> Option<Referral> {
        Referral::of(&Error::new(ErrorKind::Cluster, text.to_owned()))
    }

    #[test]
    fn a_referral_names_a_node_and_whether_it_lasts() {
        let to = |host: &str, port| Address { host: host.to_owned(), port };
        let moved = Referral { asking: false, to: to("10.0.0.1", 6381) };
        assert_eq!(referral("MOVED 3999 10.0.0.1:6381"), Some(moved));
        assert_eq!(referral("ASK 3999 ::1:6381"), Some(Referral { asking: true, to: to("::1", 6381) }));
        for other in ["MOVED 3999 :6381", "MOVED", "CLUSTERDOWN Hash slot not served", "ERR ASK 1 a:1"] {
            assert_eq!(referral(other), None, "{other}");
        }
    }
}
