//! Access to a shard's database through its connections and its circuit breaker, within the shard's timeout.

use std::{
    borrow::Borrow,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use sqlx::{PgConnection, postgres::PgConnectOptions, postgres::PgRow};

use super::{Query, ShardLimits, connections::Connections};
use crate::{
    breaker::{Breaker, Circuit},
    postgres::{Dialer, READ_ONLY},
    store_error::{Outcome, StoreError},
};

/// SQLSTATE that the epoch fence of inserts raises.
const STALE_EPOCH: &str = "SY001";

/// Access to the database of one shard.
#[derive(Debug)]
pub(super) struct Access {
    shard_id: String,
    pub(super) connections: Connections,
    timeout: Duration,
    breaker: Breaker,
    /// Whether the database has been migrated and belongs to this shard.
    prepared: AtomicBool,
}

impl Access {
    pub(super) fn new(shard_id: &str, options: PgConnectOptions, limits: &ShardLimits) -> Self {
        // The server's timeouts are shorter than the client's.
        let milliseconds = |share: f64| limits.timeout.mul_f64(share).as_millis().max(1).to_string();
        let settings = [
            ("statement_timeout", milliseconds(0.75)),
            ("lock_timeout", milliseconds(0.5)),
            // All statements find rows by unique keys, so one plan fits all values.
            ("plan_cache_mode", "force_generic_plan".to_owned()),
        ];
        Self {
            shard_id: shard_id.to_owned(),
            connections: Connections::new(Dialer::new(options, "symbolon", &settings), limits.connections),
            timeout: limits.timeout,
            breaker: Breaker::default(),
            prepared: AtomicBool::new(false),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.shard_id
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn is_prepared(&self) -> bool {
        self.prepared.load(Ordering::Acquire)
    }

    pub(super) fn set_prepared(&self) {
        self.prepared.store(true, Ordering::Release);
    }

    pub(super) fn circuit(&self) -> Circuit {
        if self.is_prepared() { self.breaker.circuit(Instant::now()) } else { Circuit::Open }
    }

    /// Runs `work` if the database is prepared and the circuit breaker permits it, and reports the outcome to the breaker.
    /// `work` must end within the timeout; its argument is whether it is the breaker's probe.
    pub(super) async fn permitted<T, E: Borrow<sqlx::Error>>(
        &self,
        work: impl AsyncFnOnce(bool) -> Result<T, E>,
    ) -> Result<Result<T, E>, StoreError> {
        if !self.is_prepared() {
            return Err(self.not_sent("the database is not prepared yet"));
        }
        let permit = self.breaker.permit(Instant::now()).ok_or_else(|| self.not_sent("the circuit breaker is open"))?;
        let result = work(permit.is_probe()).await;
        let is_available = !result.as_ref().is_err_and(|error| is_down(error.borrow()));
        permit.finish(is_available, Instant::now());
        if !is_available {
            self.connections.close_idle();
        }
        Ok(result)
    }

    /// Runs `work`, which fails when the timeout has passed since `begun`.
    pub(super) async fn with_timeout<T>(
        &self,
        begun: Instant,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let left = self.timeout.saturating_sub(begun.elapsed());
        tokio::time::timeout(left, work).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Runs `work` on a connection. Keeps the connection only if the server is still available afterwards.
    pub(super) async fn with_connection<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut lease = self.connections.lease().await?;
        let result = work(lease.connection()?).await;
        if !result.as_ref().is_err_and(is_down) {
            lease.give_back();
        }
        result
    }

    /// Runs `work` on a connection within the timeout and behind the circuit breaker. The outer error means that `work` was not
    /// started, for example because no connection was available in time.
    pub(super) async fn try_run<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<Result<T, sqlx::Error>, StoreError> {
        let is_started = AtomicBool::new(false);
        let send = async |connection: &mut PgConnection| {
            is_started.store(true, Ordering::Relaxed);
            work(connection).await
        };
        match self.permitted(async |_| self.with_timeout(Instant::now(), self.with_connection(send)).await).await? {
            Err(error) if !is_started.load(Ordering::Relaxed) => Err(self.not_sent(error)),
            done => Ok(done),
        }
    }

    /// Runs `work` like [`Self::try_run`], with all failures converted.
    pub(super) async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.try_run(work).await?.map_err(|source| self.failed(source))
    }

    pub(super) fn unavailable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        StoreError::Unavailable { store: self.shard_id.clone(), outcome: Outcome::Unknown, source: source.into() }
    }

    /// Converts a failure; an error of a read-only server means that the request had no effect.
    fn failed(&self, source: sqlx::Error) -> StoreError {
        if is_read_only(&source) { self.not_sent(source) } else { self.unavailable(source) }
    }

    /// Like [`Self::unavailable`], for a request that had no effect.
    fn not_sent(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        StoreError::Unavailable { store: self.shard_id.clone(), outcome: Outcome::NotSent, source: source.into() }
    }

    pub(super) fn corrupt(
        &self,
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Corrupt { store: self.shard_id.clone(), what, source: source.into() }
    }

    /// Runs a query and returns its first row.
    pub(super) async fn find(&self, query: Query<'_>) -> Result<Option<PgRow>, StoreError> {
        self.run(async |connection| query.fetch_optional(connection).await).await
    }

    /// Runs one statement. Returns whether it changed a row.
    pub(super) async fn execute(&self, query: Query<'_>) -> Result<bool, StoreError> {
        Ok(self.run(async |connection| query.execute(connection).await).await?.rows_affected() > 0)
    }

    /// Runs an insert behind the epoch fence. Returns whether it inserted a row.
    pub(super) async fn insert(&self, epoch: i64, query: Query<'_>) -> Result<bool, StoreError> {
        match self.try_run(async |connection| query.execute(connection).await).await? {
            Ok(done) => Ok(done.rows_affected() > 0),
            Err(error) => Err(self.insert_error(epoch, error)),
        }
    }

    /// Converts the error of an insert behind the epoch fence.
    pub(super) fn insert_error(&self, epoch: i64, error: sqlx::Error) -> StoreError {
        match error {
            sqlx::Error::Database(error) if error.code().as_deref() == Some(STALE_EPOCH) => {
                StoreError::StaleEpoch { shard: self.shard_id.clone(), epoch }
            }
            source => self.failed(source),
        }
    }
}

/// Returns the error of a request that the server did not answer within the timeout.
pub(super) fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// Whether the server rejected a write because it is a standby or the session is read-only.
fn is_read_only(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(READ_ONLY))
}

/// Whether an error means that the server is unavailable, rather than that it rejected a statement.
pub(super) fn is_down(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            // Shutdown or startup, insufficient resources, connection exception, read-only server.
            let classes = ["57P", "53", "08", READ_ONLY];
            error.code().is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
        }
        sqlx::Error::RowNotFound
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Encode(_) => false,
        _ => true,
    }
}
