//! A Redis Cluster of three primaries, with a replica each where a test needs them.

use std::{net::TcpListener, path::PathBuf, sync::Arc};

use super::{Certificates, Redis, cli, url};
use crate::support::{block_until, servers::free_port};

/// Whether the cluster bus of a node at `port` can listen: 10,000 ports higher.
fn has_free_bus(port: u16) -> bool {
    port.checked_add(10_000).is_some_and(|bus| TcpListener::bind(("127.0.0.1", bus)).is_ok())
}

#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Three primaries that share the slots.
    pub fn start() -> Self {
        Self::with(0, None)
    }

    pub fn with_certificates(certificates: Certificates) -> Self {
        Self::with(0, Some(Arc::new(certificates)))
    }

    /// Three primaries with a replica each, which takes over within seconds when its primary dies.
    pub fn with_replicas() -> Self {
        Self::with(1, None)
    }

    fn with(replicas: usize, certificates: Option<Arc<Certificates>>) -> Self {
        let port = || std::iter::repeat_with(free_port).find(|port| has_free_bus(*port)).expect("a port");
        let settings =
            ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"];
        let count = 3 * (1 + replicas);
        let nodes: Vec<Redis> = (0..count).map(|_| Redis::with(port(), certificates.clone(), &settings)).collect();
        let cluster = Self { nodes };
        let mut create = cli(cluster.nodes[0].ca().as_deref(), cluster.nodes[0].port);
        create.args(["--cluster", "create"]).args(cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
        let output = create
            .args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"])
            .output()
            .expect("redis-cli runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        block_until("the cluster is complete", || {
            cluster.nodes.iter().all(|node| node.command(&["cluster", "info"]).contains("cluster_state:ok"))
        });
        block_until("the replicas follow", || {
            let down = |node: &Redis| node.command(&["info", "replication"]).contains("master_link_status:down");
            let followed = cluster.nodes.iter().filter(|node| node.command(&["role"]).starts_with("slave")).count();
            followed == 3 * replicas && !cluster.nodes.iter().any(down)
        });
        cluster
    }

    pub fn url(&self) -> String {
        url("redis-cluster", self.nodes[0].certificates.as_deref(), self.nodes[0].port)
    }

    /// The CA to verify all of them with, if they speak TLS.
    pub fn ca(&self) -> Option<PathBuf> {
        self.nodes[0].ca()
    }

    /// Has all nodes announce a host name beside their addresses.
    pub fn announce_host_name(&self, name: &str) {
        for node in &self.nodes {
            assert_eq!(node.command(&["config", "set", "cluster-announce-hostname", name]), "OK");
        }
        block_until("all nodes know the host names", || {
            self.nodes.iter().all(|node| node.command(&["cluster", "slots"]).matches(name).count() == self.nodes.len())
        });
    }

    /// Fills the memory of all nodes.
    pub fn fill(&self) {
        self.nodes.iter().for_each(Redis::fill);
    }

    /// Lets all nodes take memory again.
    pub fn empty(&self) {
        self.nodes.iter().for_each(Redis::empty);
    }

    /// The primary that has `key`.
    pub fn primary_of(&mut self, key: &str) -> &mut Redis {
        let port = self.port_of(key);
        self.nodes.iter_mut().find(|node| node.port == port).expect("a node")
    }

    /// The replica of the primary that has `key`.
    pub fn replica_of(&self, key: &str) -> &Redis {
        let primary = self.port_of(key).to_string();
        let follows = |node: &&Redis| {
            let role = node.command(&["role"]);
            role.starts_with("slave") && role.lines().any(|line| line == primary)
        };
        self.nodes.iter().find(follows).expect("a replica")
    }

    /// Begins to move the slot of `key` to the node that has `there`.
    pub fn begin_move(&self, key: &str, there: &str) -> Move<'_> {
        let (from, to) = (self.node(self.port_of(key)), self.node(self.port_of(there)));
        let slot = from.command(&["cluster", "keyslot", key]);
        let id = |node: &Redis| node.command(&["cluster", "myid"]);
        to.command(&["cluster", "setslot", &slot, "importing", &id(from)]);
        from.command(&["cluster", "setslot", &slot, "migrating", &id(to)]);
        Move { cluster: self, from, to, slot }
    }

    fn node(&self, port: u16) -> &Redis {
        self.nodes.iter().find(|node| node.port == port).expect("a node")
    }

    /// The port of the node that has `key`.
    pub fn port_of(&self, key: &str) -> u16 {
        let found = self.nodes.iter().find(|node| node.command(&["role"]).starts_with("master")).expect("a primary");
        let answer = found.command(&["exists", key]);
        let referred = answer.strip_prefix("MOVED ").and_then(|moved| moved.rsplit_once(':')).map(|(_, port)| port);
        referred.map_or(found.port, |port| port.trim().parse().expect("a port"))
    }
}

/// A slot that is being moved from one node to another.
pub struct Move<'a> {
    cluster: &'a RedisCluster,
    from: &'a Redis,
    to: &'a Redis,
    slot: String,
}

impl Move<'_> {
    /// Moves all keys of the slot, and not yet the slot.
    pub fn move_keys(&self) {
        let keys = self.from.command(&["cluster", "getkeysinslot", &self.slot, "1000"]);
        let port = self.to.port.to_string();
        let head = ["migrate", "127.0.0.1", &port, "", "0", "5000", "keys"];
        let migrate: Vec<&str> = head.into_iter().chain(keys.lines()).collect();
        assert_eq!(self.from.command(&migrate), "OK");
    }

    /// Moves the slot, on all nodes.
    pub fn finish(self) {
        let id = self.to.command(&["cluster", "myid"]);
        for node in [self.to, self.from].into_iter().chain(&self.cluster.nodes) {
            assert_eq!(node.command(&["cluster", "setslot", &self.slot, "node", &id]), "OK");
        }
    }
}
