//! Load-balancing settings that operators make at run time. They are in the shared store, so that every instance shows them,
//! every gateway follows them, and they survive restarts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use symbolon_balancer::{Algorithm, NodeSpec};

use crate::store_error::StoreError;

/// Load-balancing settings of operators. No id is both added and removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balancing {
    /// Load-balancing algorithm; `None` means the configured one.
    pub algorithm: Option<Algorithm>,
    /// Nodes in addition to the instances, by id.
    pub added: BTreeMap<String, NodeRecord>,
    /// Instances that get no requests. An id stays in the list for a day after its instance left, because it may come back.
    pub removed: BTreeSet<String>,
}

/// A node added by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Unique among added nodes and instances.
    pub id: String,
    /// Base URL of the node.
    pub url: String,
    /// Share of the traffic relative to other nodes.
    pub weight: u32,
    /// Maximum number of concurrent requests.
    pub max_connections: u32,
    pub region: String,
    pub zone: String,
}

impl From<NodeRecord> for NodeSpec {
    fn from(NodeRecord { id, url, weight, max_connections, region, zone }: NodeRecord) -> Self {
        Self { id, url, weight, max_connections, region, zone }
    }
}

/// Reads and changes the load-balancing settings of operators.
#[async_trait]
pub trait BalancerControl: Send + Sync + Debug {
    /// Returns all settings. An algorithm that this version does not know counts as not set.
    async fn balancing(&self) -> Result<Balancing, StoreError>;

    /// Sets the algorithm, or returns to the configured one.
    async fn set_algorithm(&self, algorithm: Option<Algorithm>) -> Result<(), StoreError>;

    /// Adds a node, or replaces the one with its id. The id is no longer removed.
    async fn add_node(&self, node: &NodeRecord) -> Result<(), StoreError>;

    /// Deletes an added node, or records an instance as removed if `is_instance`. Returns `false` if there is no such node.
    async fn remove_node(&self, id: &str, is_instance: bool) -> Result<bool, StoreError>;

    /// Readmits a removed instance. Returns `false` if it was not removed.
    async fn readmit_node(&self, id: &str) -> Result<bool, StoreError>;
}
