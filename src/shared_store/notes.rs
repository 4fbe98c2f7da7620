//! What the fleet remembers in few words, such as an operator's choice, or what the one who decides for all needs to go on
//! where another ended.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::store_error::StoreError;

/// Texts by name, which outlive the instances.
#[async_trait]
pub trait NoteStore: Send + Sync + Debug {
    /// The text that was written last.
    async fn note(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Writes a text in the place of the one before, unless that was written under a later `fence`; whether it was written.
    /// Who writes without a lock writes under fence 0.
    async fn write_note(&self, name: &str, text: &str, fence: u64) -> Result<bool, StoreError>;
}
