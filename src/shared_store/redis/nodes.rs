//! Servers that hold the keys: one server, or the nodes of a Cluster.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use fred::{
    error::Error,
    types::{Value, config::ServerConfig},
};
use futures_util::{
    FutureExt,
    future::{join_all, select_ok},
};

use super::{
    cluster::{Cluster, Redirect},
    command::Command,
    connection::Connector,
    errors::is_down,
    node::{Node, WriteConcern},
};
use crate::breaker::Circuit;

/// Pause before a task that panicked is restarted.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Maximum number of redirections that a command follows.
const MAX_REDIRECTS: usize = 3;

#[derive(Debug)]
pub(super) enum Nodes {
    /// One server, or the current primary of a Sentinel service.
    One(Arc<Node>),
    /// A Cluster and the task that follows its layout.
    Many(Arc<Cluster>, tokio::task::JoinHandle<()>),
}

impl Nodes {
    /// Connects in the background.
    pub(super) fn open(connector: Connector, server: ServerConfig, replicas: u32) -> Self {
        match server {
            ServerConfig::Clustered { hosts, .. } => {
                let cluster = Arc::new(Cluster::new(connector, hosts, replicas));
                Self::Many(Arc::clone(&cluster), tokio::spawn(follow(cluster)))
            }
            server => Self::One(Arc::new(Node::open_primary(&connector, &server, replicas))),
        }
    }

    /// Sends a command to the node that holds `key`.
    pub(super) async fn send(
        &self,
        key: &str,
        command: Command,
        concern: WriteConcern,
        deadline: Instant,
    ) -> Result<Value, Error> {
        let cluster = match self {
            Self::One(node) => return node.send(command, concern, false, deadline).await,
            Self::Many(cluster, _) => cluster,
        };
        let (mut node, mut asking) = (cluster.owner(key).inspect_err(|_| cluster.mark_stale())?, false);
        let mut redirects = 0;
        loop {
            let error = match node.send(command.clone(), concern, asking, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let redirect = Redirect::parse(&error);
            if redirect.is_some() || is_down(&error) {
                cluster.mark_stale();
            }
            match redirect {
                Some(redirect) if redirects < MAX_REDIRECTS => {
                    (node, asking) = (cluster.redirect_target(&redirect), redirect.asking);
                    redirects += 1;
                }
                _ => return Err(error),
            }
        }
    }

    /// Whether keys are spread over several servers.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Many(..))
    }

    /// Returns all servers that hold keys.
    pub(super) fn all(&self) -> Vec<Arc<Node>> {
        match self {
            Self::One(node) => vec![Arc::clone(node)],
            Self::Many(cluster, _) => cluster.nodes(),
        }
    }

    /// Checks that at least one server answers.
    pub(super) async fn ping(&self) -> Result<(), Error> {
        let nodes = self.all();
        if nodes.is_empty() {
            return Err(Error::new(fred::error::ErrorKind::Cluster, "no node of the Cluster is known"));
        }
        let pings = nodes.iter().map(|node| Box::pin(node.send_all(vec![Command::bare("PING")])));
        select_ok(pings).await.map(drop)
    }

    /// Returns the worst state of all circuit breakers.
    pub(super) fn circuit(&self) -> Circuit {
        let circuits: Vec<Circuit> = self.all().iter().map(|node| node.circuit()).collect();
        let worst_first = [Circuit::Open, Circuit::HalfOpen];
        worst_first.into_iter().find(|circuit| circuits.contains(circuit)).unwrap_or(Circuit::Closed)
    }

    pub(super) async fn close(&self) {
        if let Self::Many(_, following) = self {
            following.abort();
        }
        let nodes = self.all();
        join_all(nodes.iter().map(|node| node.close())).await;
    }
}

/// Follows the layout of a Cluster. Restarts after a panic.
async fn follow(cluster: Arc<Cluster>) {
    while AssertUnwindSafe(Arc::clone(&cluster).follow()).catch_unwind().await.is_err() {
        tracing::error!("following the layout of the Redis Cluster panicked; restarting");
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if let Self::Many(_, following) = self {
            following.abort();
        }
    }
}
