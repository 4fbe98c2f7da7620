//! How lookups were joined into batches, as operators see it.

use serde::Serialize;
use symbolon_batcher::BatchStats;

use super::milliseconds;
use crate::shards::Batching;

/// How an instance joined its lookups at a shard into batches.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BatchingView {
    /// Those for users.
    users: BatchesView,
    /// Those for login names.
    names: BatchesView,
}

/// Batches of one kind.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BatchesView {
    /// How many lookups there were since the start.
    #[schema(example = 48211)]
    lookups: u64,
    /// How many queries or commands were made for them.
    #[schema(example = 9120)]
    batches: u64,
    /// How many rows or sessions those asked for; lookups of the same may share one.
    #[schema(example = 48190)]
    keys: u64,
    /// How long a lookup waited until it was sent, on average since the start, in milliseconds.
    #[schema(example = 0.2)]
    mean_wait_milliseconds: f64,
    /// How many batches are under way.
    #[schema(example = 2)]
    in_flight: usize,
    /// How many rows or sessions wait to be asked for.
    #[schema(example = 5)]
    waiting: usize,
}

impl BatchingView {
    pub(super) fn new(batching: Batching) -> Self {
        Self { users: BatchesView::new(batching.users), names: BatchesView::new(batching.names) }
    }
}

impl BatchesView {
    pub(super) fn new(stats: BatchStats) -> Self {
        Self {
            lookups: stats.lookups,
            batches: stats.batches,
            keys: stats.keys,
            mean_wait_milliseconds: milliseconds(stats.mean_wait()),
            in_flight: stats.in_flight,
            waiting: stats.waiting,
        }
    }
}
