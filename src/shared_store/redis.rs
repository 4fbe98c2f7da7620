//! The shared store in Redis: a single server, Sentinel, or a Cluster.
//!
//! Keys of one user share the hash tag `{user_id}`, so they are in one slot of a Cluster and one script can hold a
//! condition together with a write:
//!
//! | key | type | what |
//! |---|---|---|
//! | `symbolon:{id}:user` | string | the generation, the snapshot's version, and the snapshot |
//! | `symbolon:{id}:index` | sorted set | session ids by absolute expiry |
//! | `symbolon:{id}:revocations` | sorted set | revocations that are pending, by expiry |
//! | `symbolon:{id}:session:<id>` | string | one session: generation, idle end, end, creation, digest, address, user agent |
//! | `symbolon:throttle:{<digest>}` | string | when a bucket will be full |
//! | `symbolon:{fleet}:seen`, `:records` | sorted set, hash | instances |
//! | `symbolon:{fleet}:balancing` | hash `algorithm`, `node:<id>` | what operators tell the balancers |
//! | `symbolon:{fleet}:removed` | sorted set | when instances were taken out of them |
//! | `symbolon:lock:{<name>}` | hash | a lock |
//!
//! Every key but locks and the fleet's has a time to live: Redis removes what has expired, and nothing depends on when. No
//! JSON is decoded in Lua, which would turn `[]` into `{}` and round integers. What is read for every request is in strings: one
//! `MGET` reads many sessions at less than half of what a script takes. Whether a session is alive is decided by the times in it.

mod address;
mod balancing;
mod cluster;
pub mod codec;
mod connection;
mod durability;
mod fleet;
mod hints;
mod node;
mod nodes;
mod notes;
mod role;
mod scripts;
mod session_reads;
mod sessions;
mod throttle;
mod tls;
mod totals;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use fred::{
    error::Error,
    types::{FromValue, Value, config::ServerConfig},
};
use symbolon_batcher::{BatchLimits, BatchStats};
use tokio_util::sync::CancellationToken;

pub use self::{
    address::{InvalidUrl, RedisAddress},
    hints::{Hints, TOPOLOGY_CHANNEL},
    tls::CaFileError,
};
use self::{
    connection::{COMMAND_TIMEOUT, Command, Connector, RECONNECT_EVERY},
    node::{Care, is_unsent},
    nodes::Nodes,
    scripts::{Script, Scripts},
    session_reads::SessionReads,
};
use super::SharedStore;
use crate::{
    breaker::Circuit,
    clock::Timestamp,
    store_error::{Outcome, StoreError},
};

/// How often Redis is asked for its settings until it tells them.
const ASK_AGAIN_EVERY: Duration = Duration::from_secs(1);

/// What every key begins with.
const PREFIX: &str = "symbolon:";

/// The shared store in Redis.
#[derive(Debug)]
pub struct RedisSharedStore {
    nodes: Arc<Nodes>,
    scripts: Scripts,
    session_reads: SessionReads,
    replicas: u32,
    connector: Connector,
    server: ServerConfig,
    /// Cancelled when this is dropped.
    closed: CancellationToken,
}

impl Drop for RedisSharedStore {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

/// What of the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL.
    #[error("redis_url: {0}")]
    Url(#[from] InvalidUrl),
    /// The CAs.
    #[error("redis_ca_file: {0}")]
    CaFile(#[from] CaFileError),
}

impl RedisSharedStore {
    /// Connects in the background, and again whenever a connection breaks. Until then, and in between, commands fail within
    /// 200 ms. With TLS, certificates are of a CA in `ca_file`, or else of one that browsers trust. Endings of sessions and
    /// new snapshots fail unless so many `replicas` have them in time. Sessions are read in batches, unless in a Cluster.
    ///
    /// # Errors
    /// [`ConnectError`] for a URL or CAs that can't be read; a server that can't be reached is no error here.
    pub fn connect(
        url: &str,
        ca_file: Option<&Path>,
        replicas: u32,
        batches: BatchLimits,
    ) -> Result<Self, ConnectError> {
        let address = RedisAddress::parse(url)?;
        let connector = Connector::new(&address, ca_file)?;
        let server = address.config.server;
        let nodes = Arc::new(Nodes::open(connector.clone(), server.clone(), replicas));
        let session_reads = SessionReads::new(Arc::clone(&nodes), batches);
        let closed = CancellationToken::new();
        Ok(Self { nodes, scripts: Scripts::new(), session_reads, replicas, connector, server, closed })
    }

    /// Waits until Redis answers, but not longer than `patience`; false if it does not.
    pub async fn wait_until_available(&self, patience: Duration) -> bool {
        let answers = async {
            while self.ping().await.is_err() {
                tokio::time::sleep(RECONNECT_EVERY).await;
            }
        };
        tokio::time::timeout(patience, answers).await.is_ok()
    }

    /// Says in the log what Redis is set up to lose; if it does not answer now, as soon as it does.
    pub async fn warn_about_data_loss(&self) {
        if durability::warn_about_data_loss(&self.nodes, self.replicas).await.is_ok() {
            return;
        }
        let (nodes, replicas, closed) = (Arc::clone(&self.nodes), self.replicas, self.closed.clone());
        tokio::spawn(closed.run_until_cancelled_owned(async move {
            while durability::warn_about_data_loss(&nodes, replicas).await.is_err() {
                tokio::time::sleep(ASK_AGAIN_EVERY).await;
            }
        }));
    }

    fn unavailable(&self, source: Error) -> StoreError {
        let outcome = if is_unsent(&source) { Outcome::NotSent } else { Outcome::Unknown };
        StoreError::Unavailable { store: "shared".to_owned(), outcome, source: source.into() }
    }

    fn corrupt(&self, what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        StoreError::Corrupt { store: "shared".to_owned(), what, source: source.into() }
    }

    fn converted<R: FromValue>(&self, answer: Result<Value, Error>) -> Result<R, StoreError> {
        answer.and_then(Value::convert).map_err(|source| self.unavailable(source))
    }

    /// Runs a command whose first argument is its key.
    async fn command<R: FromValue>(&self, name: &'static str, arguments: &[&str]) -> Result<R, StoreError> {
        let command = Command::new(name, arguments.iter().copied());
        let key = arguments.first().copied().unwrap_or_default();
        self.converted(self.nodes.send(key, command, Care::Primary, Instant::now() + COMMAND_TIMEOUT).await)
    }

    /// Runs a script.
    async fn run<R: FromValue>(
        &self,
        script: &Script,
        keys: Vec<String>,
        arguments: Vec<impl Into<Value>>,
    ) -> Result<R, StoreError> {
        self.run_with(Care::Primary, script, keys, arguments).await
    }

    /// Runs a script that writes what a failover must not undo.
    async fn run_kept<R: FromValue>(
        &self,
        script: &Script,
        keys: Vec<String>,
        arguments: Vec<impl Into<Value>>,
    ) -> Result<R, StoreError> {
        self.run_with(Care::Replicas, script, keys, arguments).await
    }

    async fn run_with<R: FromValue>(
        &self,
        care: Care,
        script: &Script,
        keys: Vec<String>,
        arguments: Vec<impl Into<Value>>,
    ) -> Result<R, StoreError> {
        let arguments = arguments.into_iter().map(Into::into).collect();
        self.converted(script.run(&self.nodes, keys, arguments, care, Instant::now() + COMMAND_TIMEOUT).await)
    }
}

#[async_trait]
impl SharedStore for RedisSharedStore {
    /// A Cluster answers if some of its nodes do: the users of the others are without sessions, and nobody else.
    async fn ping(&self) -> Result<(), StoreError> {
        self.nodes.ping().await.map_err(|source| self.unavailable(source))
    }

    /// In a Cluster the time of the node that has the registry.
    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        let answer = self
            .nodes
            .send(&fleet::seen(), Command::bare("TIME"), Care::Primary, Instant::now() + COMMAND_TIMEOUT)
            .await;
        let (seconds, micros): (i64, i64) = self.converted(answer)?;
        Ok(Some(Timestamp::from_millis(seconds.saturating_mul(1000).saturating_add(micros / 1000))))
    }

    /// Redis removes what has expired, but for records of instances: they are members of one key.
    async fn reap(&self, _: Timestamp) -> Result<u64, StoreError> {
        self.reap_fleet().await.map(|()| 0)
    }

    fn circuit(&self) -> Circuit {
        self.nodes.circuit()
    }

    fn batching(&self) -> Option<BatchStats> {
        self.session_reads.stats()
    }

    async fn close(&self) {
        self.nodes.close().await;
    }
}
