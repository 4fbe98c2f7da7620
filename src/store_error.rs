//! Errors of stores, independent of the database behind them.

use std::error::Error;

/// Effect of a request that failed because the store was unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The request had no effect: it was not sent, or the server rejected it because it accepts no writes.
    NotSent,
    /// The request may or may not have been carried out.
    Unknown,
}

/// Failure of a store. Unless a variant says otherwise, the request may or may not have been carried out.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server or file did not answer in time.
    #[error("the store {store} is unavailable")]
    Unavailable {
        /// Id of a shard, `shared` or `catalog`.
        store: String,
        outcome: Outcome,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The epoch of an insert is not the shard's epoch; nothing was written.
    #[error("shard {shard} is not at epoch {epoch}")]
    StaleEpoch {
        shard: String,
        /// Epoch of the insert.
        epoch: i64,
    },
    /// A stored value does not have the format in which it is written.
    #[error("the store {store} contains an unreadable {what}")]
    Corrupt {
        /// Id of a shard, or `shared`.
        store: String,
        /// Name of the column or document.
        what: &'static str,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether the request certainly had no effect, and will have none.
    pub fn is_without_effect(&self) -> bool {
        matches!(self, Self::Unavailable { outcome: Outcome::NotSent, .. } | Self::StaleEpoch { .. })
    }
}
