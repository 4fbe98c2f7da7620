//! Notes: one hash each, with its text and fencing token.

use async_trait::async_trait;

use super::{keys, store::RedisSharedStore};
use crate::{shared_store::NoteStore, store_error::StoreError};

#[async_trait]
impl NoteStore for RedisSharedStore {
    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.command("HGET", &[&keys::note(name), "text"]).await
    }

    async fn write_note(&self, name: &str, text: &str, fence: u64) -> Result<bool, StoreError> {
        let arguments = vec![text.to_owned(), fence.to_string()];
        Ok(self.run::<u64>(&self.scripts.write_note, vec![keys::note(name)], arguments).await? > 0)
    }
}
