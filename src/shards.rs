//! The shards in force: which store holds a user or a name.
//!
//! Everything kept by login name (its claim) is found by the name, everything else by the user's id, so that one user
//! costs one shard, and a login two.

pub mod postgres;
pub mod sqlite;
pub mod store;

use std::sync::Arc;

use crate::{
    partitioner::{Partition, Partitioner},
    topology::Topology,
    users::{LoginName, UserId},
};
pub use store::{Claim, ShardStore, StoredClaim};

/// A topology and the stores of its shards.
#[derive(Debug, Clone)]
pub struct Shards {
    topology: Arc<Topology>,
    partitioner: Arc<Partitioner>,
    stores: Arc<[Arc<dyn ShardStore>]>,
}

impl Shards {
    /// `stores` in the order of the topology's nodes.
    ///
    /// # Panics
    /// If there is not one store a node: that is a mistake in start-up, not in any input.
    pub fn new(topology: Topology, partitioner: Partitioner, stores: Vec<Arc<dyn ShardStore>>) -> Self {
        assert_eq!(stores.len(), partitioner.nodes().len(), "one store for each shard");
        Self { topology: Arc::new(topology), partitioner: Arc::new(partitioner), stores: stores.into() }
    }

    /// The store that holds a user.
    pub fn of_user(&self, user_id: UserId) -> &dyn ShardStore {
        self.holder(&user_id.to_string())
    }

    /// The store that holds a login name's claim.
    pub fn of_name(&self, login_name: &LoginName) -> &dyn ShardStore {
        self.holder(login_name.as_str())
    }

    fn holder(&self, key: &str) -> &dyn ShardStore {
        self.stores[self.partitioner.owner_index(key)].as_ref()
    }

    /// Where a partition key lives.
    pub fn partition(&self, key: &str) -> Partition<'_> {
        self.partitioner.partition(key)
    }

    /// How keys are placed.
    pub fn partitioner(&self) -> &Partitioner {
        &self.partitioner
    }

    /// The epoch that inserts must name.
    pub fn epoch(&self) -> i64 {
        self.topology.epoch
    }

    /// Every shard's id and store, in node order.
    pub fn stores(&self) -> impl Iterator<Item = (&str, &dyn ShardStore)> {
        self.partitioner.nodes().iter().map(|node| node.id.as_str()).zip(self.stores.iter().map(AsRef::as_ref))
    }

    /// Closes every store.
    pub async fn close(&self) {
        futures_util::future::join_all(self.stores.iter().map(|store| store.close())).await;
    }
}
