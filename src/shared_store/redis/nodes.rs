//! The servers that hold the keys: one, or those of a Cluster.

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
    cluster::{Cluster, Referral},
    connection::{Command, Connector},
    node::{Care, Node, is_down},
};
use crate::breaker::Circuit;

/// How long to wait before a task that died is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How often a command follows one node's reference to another.
const MAX_REFERRALS: usize = 3;

#[derive(Debug)]
pub(super) enum Nodes {
    /// One server, or whichever is Sentinel's primary.
    One(Arc<Node>),
    /// A Cluster, and the task that follows its layout.
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

    /// Sends a command to the node that has `key`.
    pub(super) async fn send(
        &self,
        key: &str,
        command: Command,
        care: Care,
        deadline: Instant,
    ) -> Result<Value, Error> {
        let cluster = match self {
            Self::One(node) => return node.send(command, care, false, deadline).await,
            Self::Many(cluster, _) => cluster,
        };
        let (mut node, mut asking) = (cluster.holder(key).inspect_err(|_| cluster.doubt())?, false);
        let mut referrals = 0;
        loop {
            let error = match node.send(command.clone(), care, asking, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let referral = Referral::of(&error);
            if referral.is_some() || is_down(&error) {
                cluster.doubt();
            }
            match referral {
                Some(referral) if referrals < MAX_REFERRALS => {
                    (node, asking) = (cluster.referred(&referral), referral.asking);
                    referrals += 1;
                }
                _ => return Err(error),
            }
        }
    }

    /// Whether keys are spread over several servers.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Many(..))
    }

    /// All servers that hold keys.
    pub(super) fn all(&self) -> Vec<Arc<Node>> {
        match self {
            Self::One(node) => vec![Arc::clone(node)],
            Self::Many(cluster, _) => cluster.nodes(),
        }
    }

    /// Whether any server answers.
    pub(super) async fn ping(&self) -> Result<(), Error> {
        let nodes = self.all();
        if nodes.is_empty() {
            return Err(Error::new(fred::error::ErrorKind::Cluster, "no node is known"));
        }
        let pings = nodes.iter().map(|node| Box::pin(node.ask(vec![Command::bare("PING")])));
        select_ok(pings).await.map(drop)
    }

    /// How the worst of them stands.
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

/// Follows the layout of a Cluster; should that die, says so and goes on.
async fn follow(cluster: Arc<Cluster>) {
    while AssertUnwindSafe(Arc::clone(&cluster).follow()).catch_unwind().await.is_err() {
        tracing::error!("following the layout of the Redis Cluster died and is started again");
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
