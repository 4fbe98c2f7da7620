//! Batching statistics.

use serde::Serialize;
use symbolon_batcher::BatchStats;

use super::milliseconds;
use crate::shards::Batching;

/// Batching of an instance's lookups on a shard.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BatchingView {
    /// Lookups of users.
    users: BatchesView,
    /// Lookups of login names.
    names: BatchesView,
}

/// Batching of one kind of lookup. Counters start at zero when the instance starts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BatchesView {
    /// Lookups requested.
    #[schema(example = 48211)]
    lookups: u64,
    /// Queries or commands sent for them.
    #[schema(example = 9120)]
    batches: u64,
    /// Rows or sessions requested in the batches; concurrent lookups of one key share it.
    #[schema(example = 48190)]
    keys: u64,
    /// Mean time until a lookup was sent, in milliseconds.
    #[schema(example = 0.2)]
    mean_wait_milliseconds: f64,
    /// Batches in flight.
    #[schema(example = 2)]
    in_flight: usize,
    /// Rows or sessions waiting for the next batch.
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
