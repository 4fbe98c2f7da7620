//! What operators tell the balancers of a fleet. It is kept in the shared store, so that every instance shows it and every
//! gateway follows it, and it outlives them all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use symbolon_balancer::{Algorithm, NodeSpec};

use crate::store_error::StoreError;

/// All that operators chose. No id is both added and removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balancing {
    /// The algorithm to balance by; none where the setting holds.
    pub algorithm: Option<Algorithm>,
    /// Nodes besides the instances, by id.
    pub added: BTreeMap<String, NodeRecord>,
    /// Instances that get no requests. They stay in the list for a day when they are gone, as one may come back under its id.
    pub removed: BTreeSet<String>,
}

/// A node that an operator added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its id, unique among added nodes and instances.
    pub id: String,
    /// Where it is reached.
    pub url: String,
    /// Its share of the traffic relative to others.
    pub weight: u32,
    /// The most requests that it takes at a time.
    pub max_connections: u32,
    /// The region it runs in.
    pub region: String,
    /// The zone it runs in.
    pub zone: String,
}

impl From<NodeRecord> for NodeSpec {
    fn from(NodeRecord { id, url, weight, max_connections, region, zone }: NodeRecord) -> Self {
        Self { id, url, weight, max_connections, region, zone }
    }
}

/// Operators' choices.
#[async_trait]
pub trait BalancerControl: Send + Sync + Debug {
    /// All of them. An algorithm that only a newer version knows is none.
    async fn balancing(&self) -> Result<Balancing, StoreError>;

    /// Chooses the algorithm, or leaves it to the setting.
    async fn set_algorithm(&self, algorithm: Option<Algorithm>) -> Result<(), StoreError>;

    /// Adds a node in the place of one with its id; that id is no longer taken out.
    async fn add_node(&self, node: &NodeRecord) -> Result<(), StoreError>;

    /// Forgets an added node; an id that `is_instance` is noted as taken out instead. False if it is neither.
    async fn remove_node(&self, id: &str, is_instance: bool) -> Result<bool, StoreError>;

    /// Lets an instance in that was taken out; false if it was not.
    async fn readmit_node(&self, id: &str) -> Result<bool, StoreError>;
}
