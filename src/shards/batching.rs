//! What came of joining lookups into batches.

use std::time::Duration;

/// The batches of one shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Batching {
    /// Those for users.
    pub users: BatchStats,
    /// Those for login names.
    pub names: BatchStats,
}

/// What batches there were since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchStats {
    /// How many lookups there were.
    pub lookups: u64,
    /// How many batches were sent.
    pub batches: u64,
    /// How many keys were in them.
    pub keys: u64,
    /// How many lookups were in them: those of one key share it, and who left before is not in any.
    pub sent: u64,
    /// How long those waited until they were sent, all of them together.
    pub waited: Duration,
    /// How many batches are under way.
    pub in_flight: usize,
    /// How many keys wait.
    pub waiting: usize,
}

impl BatchStats {
    /// How long a lookup waited until it was sent, on average.
    pub fn mean_wait(&self) -> Duration {
        self.waited.div_f64(self.sent.max(1) as f64)
    }
}
