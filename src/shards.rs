//! The shards, and which store holds a user or a name under the topology in force.
//!
//! Everything kept by login name (its claim) is found by the name, everything else by the user's id, so that one user
//! costs one shard, and a login two. A key's store and the epoch that an insert there must name come from one snapshot of
//! the topology: an insert placed by an older topology can't name a newer epoch.

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

/// How long an insert that named a passed epoch waits for the topology that follows.
const NEXT_EPOCH_WITHIN: Duration = Duration::from_secs(2);

/// The shards; clones share them.
#[derive(Debug, Clone)]
pub struct Shards(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stores: BTreeMap<String, Arc<dyn ShardStore>>,
    current: watch::Sender<Option<Arc<Placement>>>,
    refresh: Notify,
}

/// One topology, ready for use.
#[derive(Debug)]
pub struct Placement {
    /// The topology's version.
    pub epoch: i64,
    /// How keys are placed.
    pub partitioner: Partitioner,
    /// In the order of the partitioner's nodes.
    stores: Vec<Arc<dyn ShardStore>>,
}

/// The store of a key, and the epoch that inserts into it must name.
#[derive(Debug, Clone)]
pub struct ShardHandle {
    /// The epoch of the topology by which the store was found.
    pub epoch: i64,
    store: Arc<dyn ShardStore>,
}

impl std::ops::Deref for ShardHandle {
    type Target = dyn ShardStore;

    fn deref(&self) -> &Self::Target {
        self.store.as_ref()
    }
}

/// Where a key lives by one topology.
#[derive(Debug, Clone)]
pub struct ShardLocation {
    placement: Arc<Placement>,
    located: Location,
}

impl ShardLocation {
    /// The store that has it.
    pub fn store(&self) -> &dyn ShardStore {
        &*self.placement.stores[self.located.owner]
    }

    /// The partition and shard.
    pub fn partition(&self) -> Partition<'_> {
        self.placement.partitioner.describe(self.located)
    }
}

/// A topology that can't be put in force.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// It contradicts itself.
    #[error("the topology is damaged")]
    Spec(#[from] SpecError),
    /// Nothing says where one of its shards is.
    #[error("the topology has shard {0:?}, and the setting shards does not say where it is")]
    NoEndpoint(String),
}

/// Nothing can be placed before the topology is known.
#[derive(Debug, thiserror::Error)]
#[error("the catalog has not been read yet")]
struct NoTopology;

impl Placement {
    /// The store of a node, by the node's place.
    pub fn store(&self, index: usize) -> Option<&dyn ShardStore> {
        self.stores.get(index).map(AsRef::as_ref)
    }

    /// Items by the home of their keys.
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

    fn home(&self, key: &str) -> ShardHandle {
        ShardHandle { epoch: self.epoch, store: Arc::clone(&self.stores[self.partitioner.owner_index(key)]) }
    }
}

impl Shards {
    /// Shards by their ids. Until a topology is adopted no key has a home.
    pub fn new(stores: impl IntoIterator<Item = (String, Arc<dyn ShardStore>)>) -> Self {
        let stores = stores.into_iter().collect();
        Self(Arc::new(Inner { stores, current: watch::Sender::new(None), refresh: Notify::new() }))
    }

    /// Puts a topology in force; false if one of its epoch or a later one is.
    ///
    /// # Errors
    /// [`AdoptError`] leaves the former one in force.
    pub fn adopt(&self, topology: &Topology) -> Result<bool, AdoptError> {
        let partitioner = Partitioner::new(&topology.placement)?;
        let store = |id: &String| self.0.stores.get(id).cloned().ok_or_else(|| AdoptError::NoEndpoint(id.clone()));
        let stores = partitioner.nodes().iter().map(|node| store(&node.id)).collect::<Result<_, _>>()?;
        let placement = Arc::new(Placement { epoch: topology.epoch, partitioner, stores });
        Ok(self.0.current.send_if_modified(|current| {
            let newer = current.as_ref().is_none_or(|current| current.epoch < placement.epoch);
            if newer {
                *current = Some(placement);
            }
            newer
        }))
    }

    /// The topology in force.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] names the catalog, which has not answered since the start.
    pub fn current(&self) -> Result<Arc<Placement>, StoreError> {
        let unavailable = || StoreError::Unavailable {
            store: "catalog".to_owned(),
            outcome: Outcome::NotSent,
            source: NoTopology.into(),
        };
        self.0.current.borrow().clone().ok_or_else(unavailable)
    }

    /// The store that holds a user.
    pub fn shard_for_user(&self, user_id: UserId) -> Result<ShardHandle, StoreError> {
        Ok(self.current()?.home(&user_id.to_string()))
    }

    /// Where a user lives: the store, and what it is called.
    pub fn locate_user(&self, user_id: UserId) -> Result<ShardLocation, StoreError> {
        let placement = self.current()?;
        let located = placement.partitioner.locate(&user_id.to_string());
        Ok(ShardLocation { placement, located })
    }

    /// The store that holds a login name's claim.
    pub fn shard_for_name(&self, login_name: &LoginName) -> Result<ShardHandle, StoreError> {
        Ok(self.current()?.home(login_name.as_str()))
    }

    /// Does something that inserts; again under the next topology, should its epoch have passed. Nothing was written then.
    pub async fn insert<T, E, F>(&self, attempt: impl Fn() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        E: StaleEpoch,
    {
        loop {
            match attempt().await {
                Err(error) if self.follows(error.stale_epoch()).await => {}
                result => return result,
            }
        }
    }

    /// Whether a topology later than `epoch` comes into force soon.
    async fn follows(&self, epoch: Option<i64>) -> bool {
        let Some(epoch) = epoch else { return false };
        self.0.refresh.notify_one();
        let mut changes = self.0.current.subscribe();
        let later = changes.wait_for(|current| current.as_ref().is_some_and(|current| current.epoch > epoch));
        matches!(tokio::time::timeout(NEXT_EPOCH_WITHIN, later).await, Ok(Ok(_)))
    }

    /// Asks whoever follows the catalog to look at once: there may be a later topology.
    pub fn request_refresh(&self) {
        self.0.refresh.notify_one();
    }

    /// Waits until someone has reason to think that there is a later topology.
    pub async fn refresh_requested(&self) {
        self.0.refresh.notified().await;
    }

    /// Waits until there is a topology.
    pub async fn wait_for_topology(&self) -> Arc<Placement> {
        let mut changes = self.0.current.subscribe();
        match changes.wait_for(Option::is_some).await.ok().and_then(|current| current.clone()) {
            Some(placement) => placement,
            // The sender lives as long as this handle.
            None => std::future::pending().await,
        }
    }

    /// Every shard's id and store, those included that the topology in force does not use.
    pub fn stores(&self) -> impl Iterator<Item = (&str, &dyn ShardStore)> {
        self.0.stores.iter().map(|(id, store)| (id.as_str(), store.as_ref()))
    }

    /// How lookups were joined into batches, by shard, where they are.
    pub fn batching(&self) -> BTreeMap<&str, Batching> {
        self.stores().filter_map(|(id, store)| Some((id, store.batching()?))).collect()
    }

    /// Closes every store.
    pub async fn close(&self) {
        futures_util::future::join_all(self.0.stores.values().map(|store| store.close())).await;
    }
}

/// An error that may say that an insert named a passed epoch.
pub trait StaleEpoch {
    /// The epoch that was named, if it was that.
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
