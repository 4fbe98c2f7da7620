//! Shared store in an SQLite file that the processes of one machine share.
//!
//! Creating and ending sessions, notes, and the settings of operators wait for the disk. Extending idle timeouts, throttle
//! buckets, heartbeats and locks do not: a power loss may undo the last of them, and each is repeated or expires by itself.

mod balancing;
mod fleet;
mod notes;
mod revocations;
mod sessions;
mod throttle;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use sqlx::{Sqlite, query::Query, sqlite::SqliteArguments};

use super::{SharedStore, revocation::EXPIRED_RETENTION};
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

/// Maximum number of rows deleted in one transaction, so that other writers do not wait long.
const REAP_BATCH: i64 = 1000;

/// Embedded shared store.
#[derive(Debug)]
pub struct SqliteSharedStore {
    database: Arc<Database>,
}

impl SqliteSharedStore {
    /// Opens or creates the file and migrates it.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { database: Arc::new(Database::open("shared", path, MIGRATIONS).await?) })
    }

    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    fn failed(&self) -> impl Fn(sqlx::Error) -> StoreError + '_ {
        |source| self.database.unavailable(source)
    }

    /// Runs one statement in a durable transaction. Returns the number of changed rows.
    async fn execute_durably(&self, statement: Query<'_, Sqlite, SqliteArguments>) -> Result<u64, StoreError> {
        let mut write = self.database.write(Durability::Full).await?;
        let changed = statement.execute(&mut **write).await.map_err(self.failed())?.rows_affected();
        write.commit().await?;
        Ok(changed)
    }

    /// Runs a `DELETE` with the parameters `now` and a row limit until no row is left. Returns the number of deleted rows.
    async fn reap_all(&self, statement: &'static str, now: Timestamp) -> Result<u64, StoreError> {
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
        let sessions = self.reap_all(sessions::REAP, now).await?;
        self.reap_all(sessions::REAP_USERS, now).await?;
        // The next login must still find revocations that have expired recently.
        let long_expired = Timestamp::from_millis(now.millis() - EXPIRED_RETENTION.as_millis() as i64);
        self.reap_all(revocations::REAP, long_expired).await?;
        self.reap_all(throttle::REAP, now).await?;
        self.reap_all(fleet::REAP, Timestamp::now()).await?;
        self.reap_all(balancing::REAP, Timestamp::now()).await?;
        Ok(sessions)
    }

    async fn close(&self) {
        self.database.close().await;
    }
}
