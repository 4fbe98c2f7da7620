//! Instance registry and locks.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use sqlx::Row;

use super::SqliteSharedStore;
use crate::{
    clock::Timestamp,
    shared_store::{InstanceRecord, InstanceRegistry, LockStore},
    sqlite::Durability,
    store_error::StoreError,
};

/// Deletes instances without a heartbeat for ten minutes.
pub(super) const REAP: &str = "DELETE FROM instances WHERE instance_id IN \
    (SELECT instance_id FROM instances WHERE seen_at <= ? - 600000 LIMIT ?)";

#[async_trait]
impl InstanceRegistry for SqliteSharedStore {
    async fn heartbeat(&self, record: &InstanceRecord) -> Result<Option<InstanceRecord>, StoreError> {
        let mut write = self.database.write(Durability::Relaxed).await?;
        let before: Option<String> = sqlx::query_scalar("SELECT record FROM instances WHERE instance_id = ?")
            .bind(&record.id)
            .fetch_optional(&mut **write)
            .await
            .map_err(self.failed())?;
        sqlx::query(
            "INSERT INTO instances VALUES (?, ?, ?) \
             ON CONFLICT (instance_id) DO UPDATE SET seen_at = excluded.seen_at, record = excluded.record",
        )
        .bind(&record.id)
        .bind(Timestamp::now().millis())
        .bind(sqlx::types::Json(record))
        .execute(&mut **write)
        .await
        .map_err(self.failed())?;
        write.commit().await?;
        // A record that can't be decoded is replaced anyway.
        Ok(before.and_then(|record| serde_json::from_str(&record).ok()))
    }

    async fn instances(&self, age: Duration) -> Result<BTreeMap<String, (InstanceRecord, Timestamp)>, StoreError> {
        let (now, age) = (Timestamp::now(), age.as_millis() as i64);
        let rows = sqlx::query("SELECT instance_id, seen_at, record FROM instances WHERE seen_at BETWEEN ? AND ?")
            .bind(now.millis() - age)
            // A heartbeat in the future was recorded before the clock was set back.
            .bind(now.millis() + age)
            .fetch_all(self.database.reader())
            .await
            .map_err(self.failed())?;
        let decode = |row: &sqlx::sqlite::SqliteRow| {
            let record = serde_json::from_str(row.get("record"))
                .map_err(|source| self.database.corrupt("instance record", source))?;
            Ok((row.get("instance_id"), (record, Timestamp::from_millis(row.get("seen_at")))))
        };
        rows.iter().map(decode).collect()
    }

    async fn leave(&self, instance_id: &str) -> Result<(), StoreError> {
        let mut write = self.database.write(Durability::Relaxed).await?;
        sqlx::query("DELETE FROM instances WHERE instance_id = ?")
            .bind(instance_id)
            .execute(&mut **write)
            .await
            .map_err(self.failed())?;
        write.commit().await
    }
}

#[async_trait]
impl LockStore for SqliteSharedStore {
    async fn acquire_lock(&self, name: &str, holder: &str, lease: Duration) -> Result<Option<u64>, StoreError> {
        let now = Timestamp::now();
        let mut write = self.database.write(Durability::Relaxed).await?;
        let fence: Option<i64> = sqlx::query_scalar(
            "INSERT INTO locks VALUES (?1, ?2, 1, ?3) ON CONFLICT (name) DO UPDATE SET holder = ?2, expires_at = ?3, \
             fence = fence + (holder <> ?2 OR expires_at <= ?4) WHERE holder = ?2 OR expires_at <= ?4 RETURNING fence",
        )
        .bind(name)
        .bind(holder)
        .bind((now + lease).millis())
        .bind(now.millis())
        .fetch_optional(&mut **write)
        .await
        .map_err(self.failed())?;
        if fence.is_none() {
            sqlx::query("UPDATE locks SET expires_at = min(expires_at, ?2) WHERE name = ?1")
                .bind(name)
                .bind((now + lease).millis())
                .execute(&mut **write)
                .await
                .map_err(self.failed())?;
        }
        write.commit().await?;
        Ok(fence.and_then(|fence| u64::try_from(fence).ok()))
    }

    async fn release_lock(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        let mut write = self.database.write(Durability::Relaxed).await?;
        sqlx::query("UPDATE locks SET expires_at = 0 WHERE name = ? AND holder = ?")
            .bind(name)
            .bind(holder)
            .execute(&mut **write)
            .await
            .map_err(self.failed())?;
        write.commit().await
    }

    async fn holder(&self, name: &str) -> Result<Option<(String, u64)>, StoreError> {
        let held: Option<(String, i64)> =
            sqlx::query_as("SELECT holder, fence FROM locks WHERE name = ? AND expires_at > ?")
                .bind(name)
                .bind(Timestamp::now().millis())
                .fetch_optional(self.database.reader())
                .await
                .map_err(self.failed())?;
        Ok(held.and_then(|(holder, fence)| Some((holder, u64::try_from(fence).ok()?))))
    }
}
