//! The topology as a running instance learns it: from the catalog at start, and again whenever it may have changed. Until
//! the catalog has answered once no key can be placed, and what needs no shard is served.

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

/// How often a catalog is tried that has not answered yet.
const FIRST_POLL: Duration = Duration::from_millis(500);

/// The catalog of a fleet.
#[derive(Debug)]
pub(crate) struct Catalog {
    database: PgCatalog,
    configured: PartitionerSpec,
    shards: Shards,
    poll: Duration,
    answers: AtomicBool,
}

/// Why a stored topology can't be put in force.
#[derive(Debug, thiserror::Error)]
pub enum UnusableTopology {
    /// The settings place keys otherwise than the data does.
    #[error(
        "shards, strategy, split_points, pins: the storage was made with strategy {stored} on {nodes} and keeps its \
         placement; set these as they were, or use other storage"
    )]
    Placement {
        /// The strategy that it was made with.
        stored: Strategy,
        /// The shards that it was made with.
        nodes: String,
    },
    /// It contradicts itself.
    #[error("the stored topology is damaged")]
    Damaged(#[source] SpecError),
    /// It has a shard that the settings don't know.
    #[error("shards: {0}")]
    Endpoint(#[source] AdoptError),
}

/// Why no topology was taken from the catalog.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The catalog did not answer.
    #[error("catalog_url, shards: {0}")]
    Unavailable(#[from] CatalogUnavailable),
    /// What it says does not go with the settings.
    #[error(transparent)]
    Unfit(#[from] UnusableTopology),
}

impl Catalog {
    /// The catalog that tells `shards` its topology, read again each `poll`; a new one gets `configured`.
    pub(crate) fn new(database: PgCatalog, configured: PartitionerSpec, poll: Duration, shards: Shards) -> Self {
        Self { database, configured, shards, poll, answers: AtomicBool::new(false) }
    }

    /// Whether it answered when it was last asked.
    pub(crate) fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// Whether requests need it: before its first answer.
    pub(crate) fn is_needed(&self) -> bool {
        self.shards.current().is_err()
    }

    /// Reads the topology and puts it in force if it is new.
    pub(crate) async fn refresh(&self) -> Result<(), RefreshError> {
        let read = if self.is_needed() {
            self.database.load_or_create(&self.configured).await
        } else {
            self.database.load().await
        };
        self.answers.store(read.is_ok(), Ordering::Relaxed);
        let topology = read?;
        if adopt(&self.shards, &topology, &self.configured)? {
            tracing::info!(epoch = topology.epoch, "the topology is in force");
        }
        Ok(())
    }

    /// Reads the topology every now and then, and at once where someone found the one in force outdated, until stopped.
    pub(crate) async fn follow(&self, stop: CancellationToken) {
        let mut said = String::new();
        loop {
            let pause = if self.is_needed() { FIRST_POLL } else { self.poll };
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.shards.refresh_requested() => {}
                () = tokio::time::sleep(pause) => {}
            }
            let Some(refreshed) = stop.run_until_cancelled(self.refresh()).await else { break };
            match refreshed {
                Ok(()) if !said.is_empty() => {
                    said.clear();
                    tracing::info!("the catalog is back");
                }
                Ok(()) => {}
                Err(error) => {
                    let says = error.to_string();
                    if says != said {
                        tracing::warn!(error = &error as &dyn Error, "the topology could not be refreshed");
                        said = says;
                    }
                }
            }
        }
    }
}

/// Puts the stored topology in force. The first one must be the one that the settings speak of; what it became since then
/// is the catalog's to know.
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
        AdoptError::Spec(source) => UnusableTopology::Damaged(source),
        AdoptError::NoEndpoint(_) => UnusableTopology::Endpoint(error),
    })
}
