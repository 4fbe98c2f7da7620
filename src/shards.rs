//! Shards, and which of them owns a user or a login name under the current topology.
//!
//! The claim of a login name is placed by the name, everything else by the user's id. A request about one user therefore
//! needs one shard, and a login two. A key's shard and the epoch of an insert there come from one snapshot of the topology, so
//! an insert that was placed by an older topology can't carry a newer epoch.

pub mod bulk;
pub(crate) mod catalog;
pub mod postgres;
pub mod sqlite;
pub mod store;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use symbolon_partitioner::{Location, Partition, Partitioner, SpecError};
use tokio::sync::{Notify, watch};

use crate::{
    model::{LoginName, UserId},
    store_error::{Outcome, StoreError},
    topology::Topology,
};
pub use bulk::BulkStore;
pub use store::{Batching, Claim, ShardStore, StoredClaim};

/// Time that an insert with an outdated epoch waits for the next topology.
const NEXT_EPOCH_TIMEOUT: Duration = Duration::from_secs(2);

/// Shards and the current topology; clones share both.
#[derive(Debug, Clone)]
pub struct Shards(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stores: BTreeMap<String, Arc<dyn ShardStore>>,
    current: watch::Sender<Option<Arc<Placement>>>,
    refresh: Notify,
}

/// A topology with the stores of its shards.
#[derive(Debug)]
pub struct Placement {
    /// Epoch of the topology.
    pub epoch: i64,
    pub partitioner: Partitioner,
    /// Stores in the order of the partitioner's nodes.
    stores: Vec<Arc<dyn ShardStore>>,
}

/// The shard that owns a key, and the epoch that inserts into it must carry.
#[derive(Debug, Clone)]
pub struct ShardHandle {
    /// Epoch of the topology that placed the key.
    pub epoch: i64,
    store: Arc<dyn ShardStore>,
}

impl std::ops::Deref for ShardHandle {
    type Target = dyn ShardStore;

    fn deref(&self) -> &Self::Target {
        self.store.as_ref()
    }
}

/// Location of a key under one topology.
#[derive(Debug, Clone)]
pub struct ShardLocation {
    placement: Arc<Placement>,
    location: Location,
}

impl ShardLocation {
    /// Returns the shard that owns the key.
    pub fn store(&self) -> &dyn ShardStore {
        &*self.placement.stores[self.location.owner]
    }

    /// Returns the partition and shard of the key, for display.
    pub fn partition(&self) -> Partition<'_> {
        self.placement.partitioner.describe(self.location)
    }
}

/// A topology can't be adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The topology is inconsistent.
    #[error("the topology is inconsistent")]
    Spec(#[from] SpecError),
    /// The settings have no address for one of its shards.
    #[error("the topology contains shard {0:?}, but the setting shards has no address for it; add it")]
    NoEndpoint(String),
}

/// No key can be placed before the topology is known.
#[derive(Debug, thiserror::Error)]
#[error("the catalog has not been read yet")]
struct NoTopology;

impl Placement {
    /// Returns the shard at `index` in the partitioner's nodes.
    pub fn store(&self, index: usize) -> Option<&dyn ShardStore> {
        self.stores.get(index).map(AsRef::as_ref)
    }

    /// Groups `items` by the shards that own their keys.
    pub fn group<T>(&self, items: Vec<T>, key: impl Fn(&T) -> String) -> Vec<(ShardHandle, Vec<T>)> {
        let mut groups: Vec<(ShardHandle, Vec<T>)> = self
            .stores
            .iter()
            .map(|store| (ShardHandle { epoch: self.epoch, store: Arc::clone(store) }, Vec::new()))
            .collect();
        for item in items {
            groups[self.partitioner.owner_index(&key(&item))].1.push(item);
        }
        groups.retain(|(_, items)| !items.is_empty());
        groups
    }

    fn shard_for(&self, key: &str) -> ShardHandle {
        ShardHandle { epoch: self.epoch, store: Arc::clone(&self.stores[self.partitioner.owner_index(key)]) }
    }
}

impl Shards {
    /// Creates the shards from stores by id. No key is placed until a topology is adopted.
    pub fn new(stores: impl IntoIterator<Item = (String, Arc<dyn ShardStore>)>) -> Self {
        let stores = stores.into_iter().collect();
        Self(Arc::new(Inner { stores, current: watch::Sender::new(None), refresh: Notify::new() }))
    }

    /// Makes `topology` the current one. Returns whether it did: the current one may have the same epoch or a later one.
    ///
    /// # Errors
    /// Returns [`AdoptError`] and keeps the current topology.
    pub fn adopt(&self, topology: &Topology) -> Result<bool, AdoptError> {
        let partitioner = Partitioner::new(&topology.placement)?;
        let store = |id: &String| self.0.stores.get(id).cloned().ok_or_else(|| AdoptError::NoEndpoint(id.clone()));
        let stores = partitioner.nodes().iter().map(|node| store(&node.id)).collect::<Result<_, _>>()?;
        let placement = Arc::new(Placement { epoch: topology.epoch, partitioner, stores });
        Ok(self.0.current.send_if_modified(|current| {
            let is_newer = current.as_ref().is_none_or(|current| current.epoch < placement.epoch);
            if is_newer {
                *current = Some(placement);
            }
            is_newer
        }))
    }

    /// Returns the current topology.
    ///
    /// # Errors
    /// Returns [`StoreError::Unavailable`] if the catalog has not answered since the start.
    pub fn current(&self) -> Result<Arc<Placement>, StoreError> {
        let unavailable = || StoreError::Unavailable {
            store: "catalog".to_owned(),
            outcome: Outcome::NotSent,
            source: NoTopology.into(),
        };
        self.0.current.borrow().clone().ok_or_else(unavailable)
    }

    /// Returns the shard that owns a user.
    pub fn shard_for_user(&self, user_id: UserId) -> Result<ShardHandle, StoreError> {
        Ok(self.current()?.shard_for(&user_id.to_string()))
    }

    /// Returns the location of a user.
    pub fn locate_user(&self, user_id: UserId) -> Result<ShardLocation, StoreError> {
        let placement = self.current()?;
        let location = placement.partitioner.locate(&user_id.to_string());
        Ok(ShardLocation { placement, location })
    }

    /// Returns the shard that owns the claim on a login name.
    pub fn shard_for_name(&self, login_name: &LoginName) -> Result<ShardHandle, StoreError> {
        Ok(self.current()?.shard_for(login_name.as_str()))
    }

    /// Runs `attempt`, which inserts. Runs it again under the next topology if its epoch was outdated and nothing was written.
    pub async fn insert<T, E, F>(&self, attempt: impl Fn() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        E: StaleEpoch,
    {
        loop {
            match attempt().await {
                Err(error) if self.wait_for_epoch_after(error.stale_epoch()).await => {}
                result => return result,
            }
        }
    }

    /// Waits for a topology later than `epoch`. Returns whether there is one in time.
    async fn wait_for_epoch_after(&self, epoch: Option<i64>) -> bool {
        let Some(epoch) = epoch else { return false };
        self.0.refresh.notify_one();
        let mut changes = self.0.current.subscribe();
        let later = changes.wait_for(|current| current.as_ref().is_some_and(|current| current.epoch > epoch));
        matches!(tokio::time::timeout(NEXT_EPOCH_TIMEOUT, later).await, Ok(Ok(_)))
    }

    /// Requests that the topology be read from the catalog at once.
    pub fn request_refresh(&self) {
        self.0.refresh.notify_one();
    }

    /// Waits for [`Self::request_refresh`], or for an insert with an outdated epoch.
    pub async fn refresh_requested(&self) {
        self.0.refresh.notified().await;
    }

    /// Waits for the first topology and returns the current one.
    pub async fn wait_for_topology(&self) -> Arc<Placement> {
        let mut changes = self.0.current.subscribe();
        match changes.wait_for(Option::is_some).await.ok().and_then(|current| current.clone()) {
            Some(placement) => placement,
            // The sender lives as long as this handle.
            None => std::future::pending().await,
        }
    }

    /// Returns all shards by id, including those that the current topology does not use.
    pub fn stores(&self) -> impl Iterator<Item = (&str, &dyn ShardStore)> {
        self.0.stores.iter().map(|(id, store)| (id.as_str(), store.as_ref()))
    }

    /// Returns batch statistics by shard, of the shards that batch lookups.
    pub fn batching(&self) -> BTreeMap<&str, Batching> {
        self.stores().filter_map(|(id, store)| Some((id, store.batching()?))).collect()
    }

    pub async fn close(&self) {
        futures_util::future::join_all(self.0.stores.values().map(|store| store.close())).await;
    }
}

/// An error that may mean that the epoch of an insert was outdated.
pub trait StaleEpoch {
    /// Returns the outdated epoch, if that is the error.
    fn stale_epoch(&self) -> Option<i64>;
}

impl StaleEpoch for StoreError {
    fn stale_epoch(&self) -> Option<i64> {
        match self {
            Self::StaleEpoch { epoch, .. } => Some(*epoch),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
