//! Hints that the topology may have changed, by publish and subscribe. They only save time: whoever misses one finds out by
//! reading the catalog every now and then.

use std::time::Duration;

use fred::{
    interfaces::{EventInterface, PubsubInterface},
    types::config::ServerConfig,
};
use tokio::sync::broadcast::error::RecvError;

use super::{
    RedisSharedStore,
    connection::{Connection, Connector},
};

/// Whoever changes the topology says so here; what is said does not matter.
pub const TOPOLOGY_CHANNEL: &str = "symbolon:topology";

/// How soon to subscribe again where that failed.
const SUBSCRIBE_AGAIN: Duration = Duration::from_secs(1);

/// A connection that hears hints.
#[derive(Debug)]
pub struct Hints(Connection);

impl RedisSharedStore {
    /// Listens for hints from now on.
    pub fn hints(&self) -> Hints {
        // What is published on one node of a Cluster is heard on all.
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
    /// Calls `heard` for each hint, and whenever some may have been missed; never ends.
    pub async fn listen(&self, heard: impl Fn()) {
        let client = &self.0.client;
        let (mut messages, mut connected) = (client.message_rx(), client.reconnect_rx());
        let mut subscribed = false;
        loop {
            if !subscribed {
                match client.subscribe(TOPOLOGY_CHANNEL).await {
                    Ok(()) => {
                        subscribed = true;
                        heard();
                    }
                    Err(error) => tracing::debug!(%error, "hints of a new topology are not heard"),
                }
            }
            tokio::select! {
                message = messages.recv() => match message {
                    Ok(_) | Err(RecvError::Lagged(_)) => heard(),
                    Err(RecvError::Closed) => return std::future::pending().await,
                },
                // A new connection has no subscription.
                server = connected.recv() => match server {
                    Ok(_) | Err(RecvError::Lagged(_)) => subscribed = false,
                    Err(RecvError::Closed) => return std::future::pending().await,
                },
                () = tokio::time::sleep(SUBSCRIBE_AGAIN), if !subscribed => {}
            }
        }
    }
}
