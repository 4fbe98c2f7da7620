//! How a database is asked: over its connections, while its circuit is closed, for no longer than the shard's timeout.

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

/// What the fence on inserts raises.
const STALE_EPOCH: &str = "SY001";

/// The access to one shard's database.
#[derive(Debug)]
pub(super) struct Access {
    shard_id: String,
    pub(super) connections: Connections,
    timeout: Duration,
    breaker: Breaker,
    /// Whether the database was migrated and found to be this shard's.
    prepared: AtomicBool,
}

impl Access {
    pub(super) fn new(shard_id: &str, options: PgConnectOptions, limits: &ShardLimits) -> Self {
        // The server gives up before the request does.
        let milliseconds = |share: f64| limits.timeout.mul_f64(share).as_millis().max(1).to_string();
        let settings = [
            ("statement_timeout", milliseconds(0.75)),
            ("lock_timeout", milliseconds(0.5)),
            // All statements find rows by unique keys: there is one plan, whatever the values.
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

    /// Does `work`, which ends within the timeout, if the database is prepared and not known to be down, and notes whether it
    /// is. `work` is told whether it is the one that finds out if the database is back.
    pub(super) async fn permitted<T, E: Borrow<sqlx::Error>>(
        &self,
        work: impl AsyncFnOnce(bool) -> Result<T, E>,
    ) -> Result<Result<T, E>, StoreError> {
        if !self.is_prepared() {
            return Err(self.unreachable("not prepared yet"));
        }
        let permit =
            self.breaker.permit(Instant::now()).ok_or_else(|| self.unreachable("the circuit breaker is open"))?;
        let result = work(permit.is_probe()).await;
        let up = !result.as_ref().is_err_and(|error| is_down(error.borrow()));
        permit.finish(up, Instant::now());
        if !up {
            self.connections.forget();
        }
        Ok(result)
    }

    /// Gives `work` up when the timeout has passed since `begun`.
    pub(super) async fn in_time<T>(
        &self,
        begun: Instant,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let left = self.timeout.saturating_sub(begun.elapsed());
        tokio::time::timeout(left, work).await.unwrap_or_else(|_| Err(late()))
    }

    /// Does `work` on a connection, which is kept only if that went well.
    pub(super) async fn leased<T>(
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

    /// Does `work` on a connection within the timeout, as [`Self::permitted`]. That there was no connection in time is no
    /// failure of the work.
    pub(super) async fn guarded<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<Result<T, sqlx::Error>, StoreError> {
        let is_sent = AtomicBool::new(false);
        let send = async |connection: &mut PgConnection| {
            is_sent.store(true, Ordering::Relaxed);
            work(connection).await
        };
        match self.permitted(async |_| self.in_time(Instant::now(), self.leased(send)).await).await? {
            Err(error) if !is_sent.load(Ordering::Relaxed) => Err(self.unreachable(error)),
            done => Ok(done),
        }
    }

    /// As [`Self::guarded`], whatever the failure.
    pub(super) async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.guarded(work).await?.map_err(|source| self.failed(source))
    }

    pub(super) fn unavailable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        StoreError::Unavailable { store: self.shard_id.clone(), outcome: Outcome::Unknown, source: source.into() }
    }

    /// As [`Self::unavailable`], where the server's refusal may tell that nothing was done.
    fn failed(&self, source: sqlx::Error) -> StoreError {
        if is_read_only(&source) { self.unreachable(source) } else { self.unavailable(source) }
    }

    /// As [`Self::unavailable`], where nothing was asked of the server, or nothing done.
    fn unreachable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        StoreError::Unavailable { store: self.shard_id.clone(), outcome: Outcome::NotSent, source: source.into() }
    }

    pub(super) fn corrupt(
        &self,
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Corrupt { store: self.shard_id.clone(), what, source: source.into() }
    }

    /// The row that a query finds.
    pub(super) async fn find(&self, query: Query<'_>) -> Result<Option<PgRow>, StoreError> {
        self.run(async |connection| query.fetch_optional(connection).await).await
    }

    /// Runs one statement and answers whether it changed a row.
    pub(super) async fn change(&self, query: Query<'_>) -> Result<bool, StoreError> {
        Ok(self.run(async |connection| query.execute(connection).await).await?.rows_affected() > 0)
    }

    /// Runs an insert behind the fence.
    pub(super) async fn insert(&self, epoch: i64, query: Query<'_>) -> Result<bool, StoreError> {
        match self.guarded(async |connection| query.execute(connection).await).await? {
            Ok(done) => Ok(done.rows_affected() > 0),
            Err(error) => Err(self.insert_error(epoch, error)),
        }
    }

    /// What an insert behind the fence failed of.
    pub(super) fn insert_error(&self, epoch: i64, error: sqlx::Error) -> StoreError {
        match error {
            sqlx::Error::Database(error) if error.code().as_deref() == Some(STALE_EPOCH) => {
                StoreError::StaleEpoch { shard: self.shard_id.clone(), epoch }
            }
            source => self.failed(source),
        }
    }
}

/// That the server did not answer within the timeout.
pub(super) fn late() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// Whether the server refused a write because it is a standby, or because the session may only read.
fn is_read_only(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(READ_ONLY))
}

/// Whether an error says that the server is not there, rather than that it refused a statement.
pub(super) fn is_down(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            // Shutting down, starting up, out of connections, a connection broken by the server, or one without writes.
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
