//! How a store fails, whatever it is made of.

use std::error::Error;

/// What a store that did not answer may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: it was not asked, as there was no connection to be had, or it refused because it takes no writes.
    NotSent,
    /// What it was asked for, or not.
    Unknown,
}

/// A store could not do what was asked. What was asked may or may not have happened, unless said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server or file did not answer, or not in time.
    #[error("the store {store} is unavailable")]
    Unavailable {
        /// Which one: a shard's id, or `shared`.
        store: String,
        /// Whether it may have done what was asked.
        outcome: Outcome,
        /// What the driver said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The insert named an epoch that the shard is not at; nothing was written.
    #[error("shard {shard} is not at epoch {epoch}")]
    StaleEpoch {
        /// The shard.
        shard: String,
        /// The epoch that was named.
        epoch: i64,
    },
    /// A stored value that the code cannot have written.
    #[error("the store {store} holds an unreadable {what}")]
    Corrupt {
        /// Which store.
        store: String,
        /// The column or document.
        what: &'static str,
        /// Why it can't be read.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether what was asked for has certainly not happened, and will not.
    pub fn is_without_effect(&self) -> bool {
        matches!(self, Self::Unavailable { outcome: Outcome::NotSent, .. } | Self::StaleEpoch { .. })
    }
}
