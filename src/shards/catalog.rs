//! Reads the topology from the catalog at start and whenever it may have changed.
//!
//! Until the catalog has answered once, no key can be placed; requests that need no shard are served.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use symbolon_partitioner::{PartitionerSpec, SpecError, Strategy};
use tokio_util::sync::CancellationToken;

use super::{AdoptError, Shards};
use crate::topology::{
    FIRST_EPOCH, Topology,
    postgres::{CatalogUnavailable, PgCatalog},
};

/// Poll interval before the first answer of the catalog.
const INITIAL_POLL: Duration = Duration::from_millis(500);

/// Catalog of a fleet, and the shards that follow it.
#[derive(Debug)]
pub(crate) struct Catalog {
    database: PgCatalog,
    configured: PartitionerSpec,
    shards: Shards,
    poll: Duration,
    answers: AtomicBool,
}

/// Why the stored topology can't be adopted.
#[derive(Debug, thiserror::Error)]
pub enum UnusableTopology {
    /// The settings describe another placement than that of the stored data.
    #[error(
        "shards, strategy, split_points, pins: the storage was created with strategy {stored} on {nodes}, and its placement \
         can't be changed here; restore these settings, or use other storage"
    )]
    Placement {
        /// Strategy of the stored data.
        stored: Strategy,
        /// Ids of the shards of the stored data.
        nodes: String,
    },
    /// The stored topology is inconsistent.
    #[error("the stored topology is inconsistent")]
    Inconsistent(#[source] SpecError),
    /// The settings have no address for one of its shards.
    #[error("shards: {0}")]
    Endpoint(#[source] AdoptError),
}

/// Why reading the topology from the catalog failed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    #[error("catalog_url, shards: {0}")]
    Unavailable(#[from] CatalogUnavailable),
    /// The topology can't be adopted with these settings.
    #[error(transparent)]
    Unusable(#[from] UnusableTopology),
}

impl Catalog {
    /// Creates a catalog client that updates `shards` every `poll`. A new catalog is initialized with `configured`.
    pub(crate) fn new(database: PgCatalog, configured: PartitionerSpec, poll: Duration, shards: Shards) -> Self {
        Self { database, configured, shards, poll, answers: AtomicBool::new(false) }
    }

    /// Whether the last request to the catalog succeeded.
    pub(crate) fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// Whether requests depend on the catalog, which they do until its first answer.
    pub(crate) fn is_needed(&self) -> bool {
        self.shards.current().is_err()
    }

    /// Reads the topology and adopts it if it is newer.
    pub(crate) async fn refresh(&self) -> Result<(), RefreshError> {
        let read = if self.is_needed() {
            self.database.load_or_create(&self.configured).await
        } else {
            self.database.load().await
        };
        self.answers.store(read.is_ok(), Ordering::Relaxed);
        let topology = read?;
        if adopt(&self.shards, &topology, &self.configured)? {
            tracing::info!(epoch = topology.epoch, "adopted topology");
        }
        Ok(())
    }

    /// Reads the topology periodically, and at once on request, until `stop` is cancelled. Logs each kind of failure once.
    pub(crate) async fn follow(&self, stop: CancellationToken) {
        let mut last_logged = String::new();
        loop {
            let pause = if self.is_needed() { INITIAL_POLL } else { self.poll };
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.shards.refresh_requested() => {}
                () = tokio::time::sleep(pause) => {}
            }
            let Some(refreshed) = stop.run_until_cancelled(self.refresh()).await else { break };
            match refreshed {
                Ok(()) if !last_logged.is_empty() => {
                    last_logged.clear();
                    tracing::info!("catalog available again");
                }
                Ok(()) => {}
                Err(error) => {
                    let message = error.to_string();
                    if message != last_logged {
                        tracing::warn!(
                            error = &error as &dyn Error,
                            "reading the topology failed; keeping the current one"
                        );
                        last_logged = message;
                    }
                }
            }
        }
    }
}

/// Adopts the stored topology. At the first epoch it must match the settings; later ones are defined by the catalog alone.
pub(crate) fn adopt(
    shards: &Shards,
    topology: &Topology,
    configured: &PartitionerSpec,
) -> Result<bool, UnusableTopology> {
    if topology.epoch == FIRST_EPOCH && topology.placement != *configured {
        let nodes = topology.placement.nodes.iter().map(|node| node.id.as_str()).collect::<Vec<_>>().join(", ");
        return Err(UnusableTopology::Placement { stored: topology.placement.strategy, nodes });
    }
    shards.adopt(topology).map_err(|error| match error {
        AdoptError::Spec(source) => UnusableTopology::Inconsistent(source),
        AdoptError::NoEndpoint(_) => UnusableTopology::Endpoint(error),
    })
}
