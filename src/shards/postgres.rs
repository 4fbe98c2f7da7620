//! A shard in a PostgreSQL database.
//!
//! A request asks it for no longer than the shard's timeout, whatever the server or the network does meanwhile. The server
//! gives up sooner: only one that does not answer runs into the timeout, and no statement goes on after its request.

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

/// The table that notes which migrations have run; a catalog in the same database has its own.
const MIGRATIONS_TABLE: &str = "symbolon_shard_migrations";

/// How long making a connection may take when the database is prepared, and how long the rest of it.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
const PREPARE_PATIENCE: Duration = Duration::from_secs(60);

/// One shard.
#[derive(Debug)]
pub struct PgShard {
    dialer: Dialer,
    access: Arc<Access>,
    users: Lookups<Users>,
    claims: Lookups<Claims>,
}

/// How much a shard is asked at a time, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardLimits {
    /// The most connections; at least 1.
    pub connections: u32,
    /// How long a request waits for an answer, all that it waits for together.
    pub timeout: Duration,
    /// How lookups of users and those of login names are joined; with one key at most each is a query of its own.
    pub batches: BatchLimits,
}

/// A database that can't serve as this shard.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It can't be reached or migrated.
    #[error("shard {shard} can't be reached or migrated")]
    Unavailable {
        /// The shard.
        shard: String,
        /// What the driver said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It belongs to another shard.
    #[error("the database of shard {expected} holds shard {found}")]
    Mixed {
        /// The shard that was to be opened.
        expected: String,
        /// The shard that the database says it is.
        found: String,
    },
}

impl PgShard {
    /// A shard that connects when it is first used. Until [`Self::prepare`] has succeeded it is unavailable.
    pub fn new(shard_id: &str, options: PgConnectOptions, limits: ShardLimits) -> Self {
        let access = Arc::new(Access::new(shard_id, options.clone(), &limits));
        Self {
            dialer: Dialer::new(options, "symbolon", &[]),
            users: Lookups::new(Arc::clone(&access), &limits),
            claims: Lookups::new(Arc::clone(&access), &limits),
            access,
        }
    }

    /// Migrates the database and makes sure that it is this shard's; a new shard starts at `epoch`. Instances that do so
    /// at once wait for each other.
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

    /// Its id.
    pub fn id(&self) -> &str {
        self.access.id()
    }

    /// Whether [`Self::prepare`] has succeeded.
    pub fn is_prepared(&self) -> bool {
        self.access.is_prepared()
    }

    /// Over a connection of its own: a migration may take longer than a request.
    async fn claim_database(&self, epoch: i64) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let claimed = async {
            let mut connection = tokio::time::timeout(CONNECT_PATIENCE, self.dialer.dial()).await??;
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
        tokio::time::timeout(PREPARE_PATIENCE, claimed).await?
    }

    fn decode_users(&self, rows: &[PgRow]) -> Result<Vec<User>, StoreError> {
        rows.iter().map(|row| users::decode(row).map_err(|source| self.access.corrupt("user", source))).collect()
    }
}

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

#[async_trait]
impl ShardStore for PgShard {
    async fn ping(&self) -> Result<(), StoreError> {
        self.access.connections.trim();
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
        self.access.change(users::update(user, expected)).await
    }

    async fn rehash(&self, user_id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<bool, StoreError> {
        self.access.change(users::rehash(user_id, old, new)).await
    }

    async fn delete_user(&self, user_id: UserId, version: i64) -> Result<bool, StoreError> {
        self.access.change(users::delete(user_id, version)).await
    }

    async fn void_user(&self, epoch: i64, user_id: UserId) -> Result<bool, StoreError> {
        self.access.insert(epoch, users::void(epoch, user_id)).await
    }

    async fn raise_version(&self, user_id: UserId, expected: i64, version: i64) -> Result<bool, StoreError> {
        self.access.change(users::raise_version(user_id, expected, version)).await
    }

    async fn find_claim(&self, login_name: &LoginName) -> Result<Option<StoredClaim>, StoreError> {
        self.claims.find(login_name.clone()).await
    }

    async fn claim_name(&self, epoch: i64, claim: &Claim) -> Result<bool, StoreError> {
        self.access.insert(epoch, claims::insert(epoch, claim)).await
    }

    async fn replace_claim(&self, old_claim_id: Uuid, new: &Claim) -> Result<bool, StoreError> {
        self.access.change(claims::replace(old_claim_id, new)).await
    }

    async fn confirm_claim(&self, claim: &Claim) -> Result<bool, StoreError> {
        self.access.change(claims::confirm(claim)).await
    }

    async fn release_claim(&self, claim: &Claim) -> Result<bool, StoreError> {
        self.access.change(claims::release(claim)).await
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
