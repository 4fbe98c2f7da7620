//! Notes. Writes are durable.

use async_trait::async_trait;

use super::SqliteSharedStore;
use crate::{shared_store::NoteStore, store_error::StoreError};

#[async_trait]
impl NoteStore for SqliteSharedStore {
    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT text FROM notes WHERE name = ?")
            .bind(name)
            .fetch_optional(self.database.reader())
            .await
            .map_err(self.failed())
    }

    async fn write_note(&self, name: &str, text: &str, fence: u64) -> Result<bool, StoreError> {
        let statement = "INSERT INTO notes VALUES (?, ?, ?) ON CONFLICT (name) \
                         DO UPDATE SET text = excluded.text, fence = excluded.fence WHERE excluded.fence >= fence";
        let fence = i64::try_from(fence).unwrap_or(i64::MAX);
        Ok(self.execute_durably(sqlx::query(statement).bind(name).bind(text).bind(fence)).await? > 0)
    }
}
