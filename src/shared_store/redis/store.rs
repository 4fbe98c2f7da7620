//! Client of the shared store, and how commands and scripts are run.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use fred::{
    error::Error,
    types::{FromValue, Value, config::ServerConfig},
};
use symbolon_batcher::BatchLimits;
use tokio_util::sync::CancellationToken;

use super::{
    address::RedisAddress,
    command::{COMMAND_TIMEOUT, Command, RECONNECT_INTERVAL},
    connection::{ConnectError, Connector},
    durability,
    errors::is_unsent,
    node::WriteConcern,
    nodes::Nodes,
    scripts::{Script, Scripts},
    session_reads::SessionReads,
};
use crate::store_error::{Outcome, StoreError};

/// Pause before Redis is asked for its settings again.
const SETTINGS_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Client of the shared store in Redis.
#[derive(Debug)]
pub struct RedisSharedStore {
    pub(super) nodes: Arc<Nodes>,
    pub(super) scripts: Scripts,
    pub(super) session_reads: SessionReads,
    replicas: u32,
    pub(super) connector: Connector,
    pub(super) server: ServerConfig,
    /// Stops background tasks when the store is dropped.
    closed: CancellationToken,
}

impl Drop for RedisSharedStore {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl RedisSharedStore {
    /// Connects in the background, and reconnects whenever a connection breaks. While it is not connected, commands fail within
    /// 200 ms. With TLS, certificates must be issued by a CA in `ca_file`, or by one that browsers trust if there is no file.
    /// Ending sessions and publishing snapshots fail unless `replicas` replicas confirm the write in time. Session reads are
    /// batched by `batches`, except in a Cluster.
    ///
    /// # Errors
    /// Returns [`ConnectError`] if the URL or the CA file can't be read. An unreachable server is no error here.
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

    /// Waits until Redis answers, at most for `timeout`. Returns whether it answered.
    pub async fn wait_until_available(&self, timeout: Duration) -> bool {
        let answers = async {
            while self.nodes.ping().await.is_err() {
                tokio::time::sleep(RECONNECT_INTERVAL).await;
            }
        };
        tokio::time::timeout(timeout, answers).await.is_ok()
    }

    /// Logs which data Redis may lose with its settings. If it does not answer, tries again in the background.
    pub async fn warn_about_data_loss(&self) {
        if durability::warn_about_data_loss(&self.nodes, self.replicas).await.is_ok() {
            return;
        }
        let (nodes, replicas, closed) = (Arc::clone(&self.nodes), self.replicas, self.closed.clone());
        tokio::spawn(closed.run_until_cancelled_owned(async move {
            while durability::warn_about_data_loss(&nodes, replicas).await.is_err() {
                tokio::time::sleep(SETTINGS_RETRY_PAUSE).await;
            }
        }));
    }

    pub(super) fn unavailable(&self, source: Error) -> StoreError {
        let outcome = if is_unsent(&source) { Outcome::NotSent } else { Outcome::Unknown };
        StoreError::Unavailable { store: "shared".to_owned(), outcome, source: source.into() }
    }

    pub(super) fn corrupt(
        &self,
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Corrupt { store: "shared".to_owned(), what, source: source.into() }
    }

    pub(super) fn converted<R: FromValue>(&self, answer: Result<Value, Error>) -> Result<R, StoreError> {
        answer.and_then(Value::convert).map_err(|source| self.unavailable(source))
    }

    /// Runs a command whose first argument is its key.
    pub(super) async fn command<R: FromValue>(&self, name: &'static str, arguments: &[&str]) -> Result<R, StoreError> {
        let command = Command::new(name, arguments.iter().copied());
        let key = arguments.first().copied().unwrap_or_default();
        self.converted(self.nodes.send(key, command, WriteConcern::Primary, Instant::now() + COMMAND_TIMEOUT).await)
    }

    /// Runs a script.
    pub(super) async fn run<R: FromValue>(
        &self,
        script: &Script,
        keys: Vec<String>,
        arguments: Vec<impl Into<Value>>,
    ) -> Result<R, StoreError> {
        self.run_with(WriteConcern::Primary, script, keys, arguments).await
    }

    /// Runs a script whose writes must survive a failover.
    pub(super) async fn run_replicated<R: FromValue>(
        &self,
        script: &Script,
        keys: Vec<String>,
        arguments: Vec<impl Into<Value>>,
    ) -> Result<R, StoreError> {
        self.run_with(WriteConcern::Replicas, script, keys, arguments).await
    }

    async fn run_with<R: FromValue>(
        &self,
        concern: WriteConcern,
        script: &Script,
        keys: Vec<String>,
        arguments: Vec<impl Into<Value>>,
    ) -> Result<R, StoreError> {
        let arguments = arguments.into_iter().map(Into::into).collect();
        self.converted(script.run(&self.nodes, keys, arguments, concern, Instant::now() + COMMAND_TIMEOUT).await)
    }
}
