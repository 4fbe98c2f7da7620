//! The shared store in an SQLite file that the processes of one machine share.
//!
//! Ending sessions and making them, and what operators choose, waits for the disk. Sliding an expiry, counting tries, heartbeats and locks do not:
//! a power loss may undo the last of them, and each is made again or expires by itself.

mod balancing;
mod fleet;
mod notes;
mod sessions;
mod throttle;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use sqlx::{Sqlite, query::Query, sqlite::SqliteArguments};

use super::{SharedStore, revocation::EXPIRED_KEPT};
use crate::{
    clock::Timestamp,
    migrations::Source,
    sqlite::{Database, Durability, OpenError},
    store_error::StoreError,
};

const MIGRATIONS: &[Source] = &[
    ("shared", include_str!("../../migrations/sqlite/shared/0001_shared.sql")),
    ("balancing", include_str!("../../migrations/sqlite/shared/0002_balancing.sql")),
    ("notes", include_str!("../../migrations/sqlite/shared/0003_notes.sql")),
    ("revocations", include_str!("../../migrations/sqlite/shared/0004_revocations.sql")),
    ("removed at", include_str!("../../migrations/sqlite/shared/0005_removed_at.sql")),
];

/// How many rows one reaping transaction deletes at most, so that it holds nobody up.
const REAP_BATCH: i64 = 1000;

/// The embedded shared store.
#[derive(Debug)]
pub struct SqliteSharedStore {
    database: Arc<Database>,
}

impl SqliteSharedStore {
    /// Opens or creates the file.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { database: Arc::new(Database::open("shared", path, MIGRATIONS).await?) })
    }

    /// Its file.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    fn failed(&self) -> impl Fn(sqlx::Error) -> StoreError + '_ {
        |source| self.database.unavailable(source)
    }

    /// Runs one statement that waits for the disk; returns how many rows it changed.
    async fn keep(&self, statement: Query<'_, Sqlite, SqliteArguments>) -> Result<u64, StoreError> {
        let mut write = self.database.write(Durability::Full).await?;
        let changed = statement.execute(&mut **write).await.map_err(self.failed())?.rows_affected();
        write.commit().await?;
        Ok(changed)
    }

    async fn reap_from(&self, statement: &'static str, now: Timestamp) -> Result<u64, StoreError> {
        let mut total = 0;
        loop {
            let mut write = self.database.write(Durability::Relaxed).await?;
            let query = sqlx::query(statement).bind(now.millis()).bind(REAP_BATCH);
            let done = query.execute(&mut **write).await.map_err(self.failed())?.rows_affected();
            write.commit().await?;
            total += done;
            if done < REAP_BATCH as u64 {
                return Ok(total);
            }
        }
    }
}

#[async_trait]
impl SharedStore for SqliteSharedStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.database.ping().await
    }

    async fn reap(&self, now: Timestamp) -> Result<u64, StoreError> {
        let sessions = self.reap_from(sessions::REAP, now).await?;
        self.reap_from(sessions::REAP_USERS, now).await?;
        // Until then the next login is to find them.
        let long_expired = Timestamp::from_millis(now.millis() - EXPIRED_KEPT.as_millis() as i64);
        self.reap_from(sessions::REAP_REVOCATIONS, long_expired).await?;
        self.reap_from(throttle::REAP, now).await?;
        self.reap_from(fleet::REAP, Timestamp::now()).await?;
        self.reap_from(balancing::REAP, Timestamp::now()).await?;
        Ok(sessions)
    }

    async fn close(&self) {
        self.database.close().await;
    }
}
