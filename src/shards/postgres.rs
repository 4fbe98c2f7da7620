//! A shard in a PostgreSQL database.
//!
//! A request asks it for no longer than the shard's timeout, whatever the server or the network does meanwhile. The server
//! gives up sooner: only one that does not answer runs into the timeout, and no statement goes on after its request.

mod bulk;
mod claims;
mod connections;
mod copy;
mod users;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use connections::Connections;
use sqlx::{
    PgConnection, Postgres,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
};
use uuid::Uuid;

use super::store::{Claim, ShardStore, StoredClaim};
use crate::{
    breaker::{Breaker, Circuit},
    migrations::{Source, migrator},
    passwords::PasswordHash,
    store_error::StoreError,
    users::{LoginName, User, UserId},
};

const MIGRATIONS: &[Source] = &[("users", include_str!("../../migrations/postgres/shard/0001_users.sql"))];

/// The table that notes which migrations have run; a catalog in the same database has its own.
const MIGRATIONS_TABLE: &str = "symbolon_shard_migrations";

/// What the fence on inserts raises.
const STALE_EPOCH: &str = "SY001";

/// How long making a connection may take when the database is prepared, and how long the rest of it.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
const PREPARE_PATIENCE: Duration = Duration::from_secs(60);

/// One shard.
#[derive(Debug)]
pub struct PgShard {
    shard_id: String,
    options: PgConnectOptions,
    connections: Connections,
    timeout: Duration,
    breaker: Breaker,
    /// Whether the database was migrated and found to be this shard's.
    prepared: AtomicBool,
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
    /// A shard that connects when it is first used, `max_connections` times at most, and is asked for `timeout` at most.
    /// Until [`Self::prepare`] has succeeded it is unavailable.
    pub fn new(shard_id: &str, options: PgConnectOptions, max_connections: u32, timeout: Duration) -> Self {
        let options = options.application_name("symbolon");
        // The server gives up before the request does.
        let milliseconds = |share: f64| timeout.mul_f64(share).as_millis().max(1);
        let limited =
            options.clone().options([("statement_timeout", milliseconds(0.75)), ("lock_timeout", milliseconds(0.5))]);
        Self {
            shard_id: shard_id.to_owned(),
            options,
            connections: Connections::new(limited, max_connections),
            timeout,
            breaker: Breaker::default(),
            prepared: AtomicBool::new(false),
        }
    }

    /// Migrates the database and makes sure that it is this shard's; a new shard starts at `epoch`. Instances that do so
    /// at once wait for each other.
    pub async fn prepare(&self, epoch: i64) -> Result<(), PrepareError> {
        let found = self
            .claim_database(epoch)
            .await
            .map_err(|source| PrepareError::Unavailable { shard: self.shard_id.clone(), source })?;
        if found != self.shard_id {
            return Err(PrepareError::Mixed { expected: self.shard_id.clone(), found });
        }
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.shard_id
    }

    /// Whether [`Self::prepare`] has succeeded.
    pub fn is_prepared(&self) -> bool {
        self.prepared.load(Ordering::Acquire)
    }

    /// Over a connection of its own: a migration may take longer than a request.
    async fn claim_database(&self, epoch: i64) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_PATIENCE)
            .test_before_acquire(false)
            .connect_lazy_with(self.options.clone());
        let claimed = async {
            let mut migrator = migrator(MIGRATIONS);
            migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
            migrator.run(&pool).await?;
            sqlx::query("INSERT INTO shard (singleton, shard_id, epoch) VALUES (true, $1, $2) ON CONFLICT DO NOTHING")
                .bind(&self.shard_id)
                .bind(epoch)
                .execute(&pool)
                .await?;
            let shard_id = sqlx::query_scalar("SELECT shard_id FROM shard").fetch_one(&pool).await?;
            pool.close().await;
            Ok(shard_id)
        };
        tokio::time::timeout(PREPARE_PATIENCE, claimed).await?
    }

    /// Does `work` on a connection if the database is prepared and not known to be down.
    async fn guarded<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<Result<T, sqlx::Error>, StoreError> {
        if !self.is_prepared() {
            return Err(self.unavailable("not prepared yet"));
        }
        let permit =
            self.breaker.permit(Instant::now()).ok_or_else(|| self.unavailable("the circuit breaker is open"))?;
        let asked = tokio::time::timeout(self.timeout, async {
            let mut lease = self.connections.lease().await?;
            let result = work(lease.connection()?).await;
            if !result.as_ref().is_err_and(is_down) {
                lease.give_back();
            }
            result
        });
        let result = asked.await.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
        let up = !result.as_ref().is_err_and(is_down);
        permit.finish(up, Instant::now());
        if !up {
            self.connections.forget();
        }
        Ok(result)
    }

    /// As [`Self::guarded`], whatever the failure.
    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.guarded(work).await?.map_err(|source| self.unavailable(source))
    }

    fn unavailable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        StoreError::Unavailable { store: self.shard_id.clone(), source: source.into() }
    }

    fn corrupt(&self, what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        StoreError::Corrupt { store: self.shard_id.clone(), what, source: source.into() }
    }

    /// The row that a query finds.
    async fn find(&self, query: Query<'_>) -> Result<Option<PgRow>, StoreError> {
        self.run(async |connection| query.fetch_optional(connection).await).await
    }

    /// Runs one statement and answers whether it changed a row.
    async fn change(&self, query: Query<'_>) -> Result<bool, StoreError> {
        Ok(self.run(async |connection| query.execute(connection).await).await?.rows_affected() > 0)
    }

    /// Runs an insert behind the fence.
    async fn insert(&self, epoch: i64, query: Query<'_>) -> Result<bool, StoreError> {
        match self.guarded(async |connection| query.execute(connection).await).await? {
            Ok(done) => Ok(done.rows_affected() > 0),
            Err(error) => Err(self.insert_error(epoch, error)),
        }
    }

    /// What an insert behind the fence failed of.
    fn insert_error(&self, epoch: i64, error: sqlx::Error) -> StoreError {
        match error {
            sqlx::Error::Database(error) if error.code().as_deref() == Some(STALE_EPOCH) => {
                StoreError::StaleEpoch { shard: self.shard_id.clone(), epoch }
            }
            source => self.unavailable(source),
        }
    }

    fn decode_users(&self, rows: &[PgRow]) -> Result<Vec<User>, StoreError> {
        rows.iter().map(|row| users::decode(row).map_err(|source| self.corrupt("user", source))).collect()
    }
}

/// Whether an error says that the server is not there, rather than that it refused a statement.
fn is_down(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            // Shutting down, starting up, out of connections, or a connection broken by the server.
            error.code().is_some_and(|code| ["57P", "53", "08"].iter().any(|class| code.starts_with(class)))
        }
        sqlx::Error::RowNotFound
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Encode(_) => false,
        _ => true,
    }
}

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

#[async_trait]
impl ShardStore for PgShard {
    async fn ping(&self) -> Result<(), StoreError> {
        self.connections.trim();
        self.find(sqlx::query("SELECT 1")).await.map(drop)
    }

    async fn find_user(&self, user_id: UserId) -> Result<Option<User>, StoreError> {
        let row = self.find(users::find(user_id)).await?;
        row.map(|row| users::decode(&row).map_err(|source| self.corrupt("user", source))).transpose()
    }

    async fn insert_user(&self, epoch: i64, user: &User) -> Result<bool, StoreError> {
        self.insert(epoch, users::insert(epoch, user)).await
    }

    async fn update_user(&self, user: &User) -> Result<bool, StoreError> {
        self.change(users::update(user)).await
    }

    async fn rehash(&self, user_id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<bool, StoreError> {
        self.change(users::rehash(user_id, old, new)).await
    }

    async fn delete_user(&self, user_id: UserId, version: i64) -> Result<bool, StoreError> {
        self.change(users::delete(user_id, version)).await
    }

    async fn void_user(&self, epoch: i64, user_id: UserId) -> Result<bool, StoreError> {
        self.insert(epoch, users::void(epoch, user_id)).await
    }

    async fn raise_version(&self, user_id: UserId, version: i64) -> Result<bool, StoreError> {
        self.change(users::raise_version(user_id, version)).await
    }

    async fn find_claim(&self, login_name: &LoginName) -> Result<Option<StoredClaim>, StoreError> {
        let row = self.find(claims::find(login_name)).await?;
        row.map(|row| claims::decode(login_name, &row).map_err(|source| self.corrupt("login name", source))).transpose()
    }

    async fn claim_name(&self, epoch: i64, claim: &Claim) -> Result<bool, StoreError> {
        self.insert(epoch, claims::insert(epoch, claim)).await
    }

    async fn replace_claim(&self, old_claim_id: Uuid, new: &Claim) -> Result<bool, StoreError> {
        self.change(claims::replace(old_claim_id, new)).await
    }

    async fn confirm_claim(&self, claim: &Claim) -> Result<bool, StoreError> {
        self.change(claims::confirm(claim)).await
    }

    async fn release_claim(&self, claim: &Claim) -> Result<bool, StoreError> {
        self.change(claims::release(claim)).await
    }

    fn circuit(&self) -> Circuit {
        if self.is_prepared() { self.breaker.circuit(Instant::now()) } else { Circuit::Open }
    }

    async fn close(&self) {
        self.connections.close();
    }
}
