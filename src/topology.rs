//! The topology: which shards there are and how keys are placed on them, at one epoch.

pub mod postgres;
pub mod sqlite;

use symbolon_partitioner::PartitionerSpec;

/// The epoch that a new installation starts at.
pub const FIRST_EPOCH: i64 = 1;

/// The shards of embedded storage; their number does not change after the first start.
pub const EMBEDDED_SHARDS: [&str; 3] = ["db-node-0", "db-node-1", "db-node-2"];

/// A topology as the catalog keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Its version.
    pub epoch: i64,
    /// How keys are placed.
    pub placement: PartitionerSpec,
}
