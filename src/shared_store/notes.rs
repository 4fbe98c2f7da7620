//! Notes: small named texts that the fleet keeps, such as an operator's choice, or the state with which the next leader
//! continues.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::store_error::StoreError;

/// Texts by name, which survive restarts of all instances.
#[async_trait]
pub trait NoteStore: Send + Sync + Debug {
    /// Returns the current text.
    async fn note(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Replaces the text, unless it was written with a higher fencing token. Returns whether it was replaced. Writers without a
    /// lock use `fence` 0.
    async fn write_note(&self, name: &str, text: &str, fence: u64) -> Result<bool, StoreError>;
}
