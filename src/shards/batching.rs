//! What came of joining lookups into batches.

use crate::batcher::BatchStats;

/// The batches of one shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Batching {
    /// Those for users.
    pub users: BatchStats,
    /// Those for login names.
    pub names: BatchStats,
}
