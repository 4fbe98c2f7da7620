//! Topology of the storage at one epoch: its shards, and how keys are placed on them.

pub mod postgres;
pub mod sqlite;

use symbolon_partitioner::PartitionerSpec;

/// Epoch of a new installation.
pub const FIRST_EPOCH: i64 = 1;

/// Ids of the shards of embedded storage. Their number is fixed at the first start.
pub const EMBEDDED_SHARDS: [&str; 3] = ["db-node-0", "db-node-1", "db-node-2"];

/// A topology as the catalog stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Version of the topology; every change raises it.
    pub epoch: i64,
    /// Shards and placement strategy.
    pub placement: PartitionerSpec,
}
