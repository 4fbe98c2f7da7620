//! Hints that the topology may have changed, by publish/subscribe. They only save time: an instance that misses one reads the
//! catalog at its next poll.

use std::time::Duration;

use fred::{
    interfaces::{EventInterface, PubsubInterface},
    types::config::ServerConfig,
};
use tokio::sync::broadcast::error::RecvError;

use super::{
    connection::{Connection, Connector},
    store::RedisSharedStore,
};

/// Channel on which changes of the topology are announced. The content of messages does not matter.
pub const TOPOLOGY_CHANNEL: &str = "symbolon:topology";

/// Pause before the next attempt to subscribe.
const SUBSCRIBE_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A connection that receives hints.
#[derive(Debug)]
pub struct Hints(Connection);

impl RedisSharedStore {
    /// Opens a connection for hints.
    pub fn hints(&self) -> Hints {
        // A message published on one node of a Cluster reaches the subscribers of all.
        let server = match &self.server {
            ServerConfig::Clustered { hosts, .. } => match hosts.first() {
                Some(server) => ServerConfig::Centralized { server: server.clone() },
                None => self.server.clone(),
            },
            server => server.clone(),
        };
        Hints(Connector::clone(&self.connector).open(server))
    }
}

impl Hints {
    /// Calls `on_hint` for each hint and whenever hints may have been missed. Does not return.
    pub async fn listen(&self, on_hint: impl Fn()) {
        let client = &self.0.client;
        let (mut messages, mut connected) = (client.message_rx(), client.reconnect_rx());
        let mut subscribed = false;
        loop {
            if !subscribed {
                match client.subscribe(TOPOLOGY_CHANNEL).await {
                    Ok(()) => {
                        subscribed = true;
                        on_hint();
                    }
                    Err(error) => tracing::debug!(%error, "subscribing to topology hints failed"),
                }
            }
            tokio::select! {
                message = messages.recv() => match message {
                    Ok(_) | Err(RecvError::Lagged(_)) => on_hint(),
                    Err(RecvError::Closed) => return std::future::pending().await,
                },
                // A new connection has no subscription.
                server = connected.recv() => match server {
                    Ok(_) | Err(RecvError::Lagged(_)) => subscribed = false,
                    Err(RecvError::Closed) => return std::future::pending().await,
                },
                () = tokio::time::sleep(SUBSCRIBE_RETRY_PAUSE), if !subscribed => {}
            }
        }
    }
}
