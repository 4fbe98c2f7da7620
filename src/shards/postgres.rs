//! Shard in a PostgreSQL database.
//!
//! A request waits for the shard no longer than the shard's timeout, whatever the server or the network does. The server's own
//! timeouts are shorter, so only a server that does not answer reaches the client's timeout, and no statement outlives its
//! request.

mod access;
mod bulk;
mod claims;
mod connections;
mod copy;
mod lookups;
mod users;

use std::{sync::Arc, time::Duration};

use access::Access;
use async_trait::async_trait;
use claims::Claims;
use lookups::Lookups;
use sqlx::{
    Connection, Postgres,
    postgres::{PgArguments, PgConnectOptions, PgRow},
};
use symbolon_batcher::BatchLimits;
use users::Users;
use uuid::Uuid;

use super::store::{Batching, Claim, ShardStore, StoredClaim};
use crate::{
    breaker::Circuit,
    migrations::{Source, migrator},
    model::{LoginName, PasswordHash, User, UserId},
    postgres::Dialer,
    store_error::StoreError,
};

const MIGRATIONS: &[Source] = &[
    ("users", include_str!("../../migrations/postgres/shard/0001_users.sql")),
    ("fence isolation", include_str!("../../migrations/postgres/shard/0002_fence_isolation.sql")),
];

/// Table that records which migrations have run. A catalog in the same database has its own.
const MIGRATIONS_TABLE: &str = "symbolon_shard_migrations";

/// Time limit for connecting to prepare the database.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit for preparing the database, including migrations.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(60);

/// A shard in a PostgreSQL database.
#[derive(Debug)]
pub struct PgShard {
    dialer: Dialer,
    access: Arc<Access>,
    users: Lookups<Users>,
    claims: Lookups<Claims>,
}

/// Limits of the requests to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardLimits {
    /// Maximum number of connections; at least 1.
    pub connections: u32,
    /// Total time that a request may wait for the shard.
    pub timeout: Duration,
    /// Limits of the batches of user lookups and of login name lookups. With `max_keys` 1, lookups are not batched.
    pub batches: BatchLimits,
}

/// A database can't be prepared as a shard.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("cannot connect to or migrate the database of shard {shard}")]
    Unavailable { shard: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// The database belongs to another shard.
    #[error("the database of shard {expected} contains shard {found}; check the setting shards")]
    Mixed {
        expected: String,
        /// Shard id stored in the database.
        found: String,
    },
}

impl PgShard {
    /// Creates a shard that connects on first use. It is unavailable until [`Self::prepare`] has succeeded.
    pub fn new(shard_id: &str, options: PgConnectOptions, limits: ShardLimits) -> Self {
        let access = Arc::new(Access::new(shard_id, options.clone(), &limits));
        Self {
            dialer: Dialer::new(options, "symbolon", &[]),
            users: Lookups::new(Arc::clone(&access), &limits),
            claims: Lookups::new(Arc::clone(&access), &limits),
            access,
        }
    }

    /// Migrates the database and checks that it belongs to this shard. A new shard starts at `epoch`. Concurrent calls of
    /// several instances wait for each other.
    pub async fn prepare(&self, epoch: i64) -> Result<(), PrepareError> {
        let found = self
            .claim_database(epoch)
            .await
            .map_err(|source| PrepareError::Unavailable { shard: self.id().to_owned(), source })?;
        if found != self.id() {
            return Err(PrepareError::Mixed { expected: self.id().to_owned(), found });
        }
        self.access.set_prepared();
        Ok(())
    }

    pub fn id(&self) -> &str {
        self.access.id()
    }

    /// Whether [`Self::prepare`] has succeeded.
    pub fn is_prepared(&self) -> bool {
        self.access.is_prepared()
    }

    /// Uses a separate connection without the usual timeouts, because a migration may take longer than a request.
    async fn claim_database(&self, epoch: i64) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let claimed = async {
            let mut connection = tokio::time::timeout(CONNECT_TIMEOUT, self.dialer.dial()).await??;
            let mut migrator = migrator(MIGRATIONS);
            migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
            migrator.run_direct(None, &mut connection, false).await?;
            sqlx::query("INSERT INTO shard (singleton, shard_id, epoch) VALUES (true, $1, $2) ON CONFLICT DO NOTHING")
                .bind(self.id())
                .bind(epoch)
                .execute(&mut connection)
                .await?;
            let shard_id = sqlx::query_scalar("SELECT shard_id FROM shard").fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok(shard_id)
        };
        tokio::time::timeout(PREPARE_TIMEOUT, claimed).await?
    }

    fn decode_users(&self, rows: &[PgRow]) -> Result<Vec<User>, StoreError> {
        rows.iter().map(|row| users::decode(row).map_err(|source| self.access.corrupt("user", source))).collect()
    }
}

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

#[async_trait]
impl ShardStore for PgShard {
    async fn ping(&self) -> Result<(), StoreError> {
        self.access.connections.close_stale();
        self.access.find(sqlx::query("SELECT 1")).await.map(drop)
    }

    fn statement_timeout(&self) -> Duration {
        self.access.timeout()
    }

    async fn find_user(&self, user_id: UserId) -> Result<Option<User>, StoreError> {
        self.users.find(user_id).await
    }

    async fn insert_user(&self, epoch: i64, user: &User) -> Result<bool, StoreError> {
        self.access.insert(epoch, users::insert(epoch, user)).await
    }

    async fn update_user(&self, user: &User, expected: i64) -> Result<bool, StoreError> {
        self.access.execute(users::update(user, expected)).await
    }

    async fn rehash(&self, user_id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<bool, StoreError> {
        self.access.execute(users::rehash(user_id, old, new)).await
    }

    async fn delete_user(&self, user_id: UserId, version: i64) -> Result<bool, StoreError> {
        self.access.execute(users::delete(user_id, version)).await
    }

    async fn void_user(&self, epoch: i64, user_id: UserId) -> Result<bool, StoreError> {
        self.access.insert(epoch, users::void(epoch, user_id)).await
    }

    async fn raise_version(&self, user_id: UserId, expected: i64, version: i64) -> Result<bool, StoreError> {
        self.access.execute(users::raise_version(user_id, expected, version)).await
    }

    async fn find_claim(&self, login_name: &LoginName) -> Result<Option<StoredClaim>, StoreError> {
        self.claims.find(login_name.clone()).await
    }

    async fn claim_name(&self, epoch: i64, claim: &Claim) -> Result<bool, StoreError> {
        self.access.insert(epoch, claims::insert(epoch, claim)).await
    }

    async fn replace_claim(&self, old_claim_id: Uuid, new: &Claim) -> Result<bool, StoreError> {
        self.access.execute(claims::replace(old_claim_id, new)).await
    }

    async fn confirm_claim(&self, claim: &Claim) -> Result<bool, StoreError> {
        self.access.execute(claims::confirm(claim)).await
    }

    async fn release_claim(&self, claim: &Claim) -> Result<bool, StoreError> {
        self.access.execute(claims::release(claim)).await
    }

    fn circuit(&self) -> Circuit {
        self.access.circuit()
    }

    fn batching(&self) -> Option<Batching> {
        Some(Batching { users: self.users.stats()?, names: self.claims.stats()? })
    }

    async fn close(&self) {
        self.access.connections.close();
    }
}
