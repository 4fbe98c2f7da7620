//! Shard in an SQLite file that the processes of one machine share.

mod bulk;
mod claims;
mod users;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::Sqlite;
use uuid::Uuid;

use super::store::{Claim, ShardStore, StoredClaim};
use crate::{
    migrations::Source,
    model::{LoginName, PasswordHash, User, UserId},
    sqlite::{BUSY_TIMEOUT, Database, Durability, OpenError, Write},
    store_error::StoreError,
};

const MIGRATIONS: &[Source] = &[("users", include_str!("../../migrations/sqlite/shard/0001_users.sql"))];

/// An embedded shard.
#[derive(Debug)]
pub struct SqliteShard {
    shard_id: String,
    database: Arc<Database>,
}

/// An embedded shard can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenShardError {
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Reading or writing the shard id failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file belongs to another shard.
    #[error("the database file of shard {expected} contains shard {found}; check the files in the data directory")]
    Mixed {
        expected: String,
        /// Shard id stored in the file.
        found: String,
    },
}

impl SqliteShard {
    /// Opens or creates the file, migrates it, and checks that it belongs to `shard_id`. A new shard starts at `epoch`.
    pub async fn open(shard_id: &str, path: &Path, epoch: i64) -> Result<Self, OpenShardError> {
        let database = Arc::new(Database::open(shard_id, path, MIGRATIONS).await?);
        let shard = Self { shard_id: shard_id.to_owned(), database };
        let found = shard.claim_file(epoch).await?;
        if found == shard_id { Ok(shard) } else { Err(OpenShardError::Mixed { expected: shard_id.to_owned(), found }) }
    }

    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    async fn claim_file(&self, epoch: i64) -> Result<String, StoreError> {
        let mut write = self.database.write(Durability::Full).await?;
        sqlx::query("INSERT INTO shard (singleton, shard_id, epoch) VALUES (1, ?, ?) ON CONFLICT DO NOTHING")
            .bind(&self.shard_id)
            .bind(epoch)
            .execute(&mut **write)
            .await
            .map_err(|source| self.database.unavailable(source))?;
        let found = sqlx::query_scalar("SELECT shard_id FROM shard")
            .fetch_one(&mut **write)
            .await
            .map_err(|source| self.database.unavailable(source))?;
        write.commit().await?;
        Ok(found)
    }

    /// Begins a write transaction if the shard is at `epoch`. This is the epoch fence of inserts.
    async fn write_at_epoch(&self, epoch: i64) -> Result<Write<'_>, StoreError> {
        let mut write = self.database.write(Durability::Full).await?;
        let current: i64 = sqlx::query_scalar("SELECT epoch FROM shard")
            .fetch_one(&mut **write)
            .await
            .map_err(|source| self.database.unavailable(source))?;
        if current == epoch { Ok(write) } else { Err(StoreError::StaleEpoch { shard: self.shard_id.clone(), epoch }) }
    }

    /// Runs one statement and commits. Returns whether it changed a row.
    async fn execute(&self, mut write: Write<'_>, query: Query<'_>) -> Result<bool, StoreError> {
        let done = query.execute(&mut **write).await.map_err(|source| self.database.unavailable(source))?;
        write.commit().await?;
        Ok(done.rows_affected() > 0)
    }
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>;

#[async_trait]
impl ShardStore for SqliteShard {
    async fn ping(&self) -> Result<(), StoreError> {
        self.database.ping().await
    }

    /// Returns the time that a write waits for other writers.
    fn statement_timeout(&self) -> Duration {
        BUSY_TIMEOUT
    }

    async fn find_user(&self, user_id: UserId) -> Result<Option<User>, StoreError> {
        users::find(&self.database, user_id).await
    }

    async fn insert_user(&self, epoch: i64, user: &User) -> Result<bool, StoreError> {
        self.execute(self.write_at_epoch(epoch).await?, users::insert(epoch, user)).await
    }

    async fn update_user(&self, user: &User, expected: i64) -> Result<bool, StoreError> {
        self.execute(self.database.write(Durability::Full).await?, users::update(user, expected)).await
    }

    async fn rehash(&self, user_id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<bool, StoreError> {
        self.execute(self.database.write(Durability::Full).await?, users::rehash(user_id, old, new)).await
    }

    async fn delete_user(&self, user_id: UserId, version: i64) -> Result<bool, StoreError> {
        self.execute(self.database.write(Durability::Full).await?, users::delete(user_id, version)).await
    }

    async fn void_user(&self, epoch: i64, user_id: UserId) -> Result<bool, StoreError> {
        self.execute(self.write_at_epoch(epoch).await?, users::void(epoch, user_id)).await
    }

    async fn raise_version(&self, user_id: UserId, expected: i64, version: i64) -> Result<bool, StoreError> {
        self.execute(self.database.write(Durability::Full).await?, users::raise_version(user_id, expected, version))
            .await
    }

    async fn find_claim(&self, login_name: &LoginName) -> Result<Option<StoredClaim>, StoreError> {
        claims::find(&self.database, login_name).await
    }

    async fn claim_name(&self, epoch: i64, claim: &Claim) -> Result<bool, StoreError> {
        self.execute(self.write_at_epoch(epoch).await?, claims::insert(epoch, claim)).await
    }

    async fn replace_claim(&self, old_claim_id: Uuid, new: &Claim) -> Result<bool, StoreError> {
        self.execute(self.database.write(Durability::Full).await?, claims::replace(old_claim_id, new)).await
    }

    async fn confirm_claim(&self, claim: &Claim) -> Result<bool, StoreError> {
        self.execute(self.database.write(Durability::Full).await?, claims::confirm(claim)).await
    }

    async fn release_claim(&self, claim: &Claim) -> Result<bool, StoreError> {
        self.execute(self.database.write(Durability::Full).await?, claims::release(claim)).await
    }

    async fn close(&self) {
        self.database.close().await;
    }
}
