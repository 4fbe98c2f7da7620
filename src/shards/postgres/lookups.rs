//! Batched lookups by key.
//!
//! Each lookup has a deadline and a circuit breaker permit of its own, like any other statement. Only the statement is shared,
//! and it runs no longer than the last of its lookups. A lookup that probes a database that was down is not batched, so that it
//! does not wait behind a statement that may hang. An error of one row affects the lookups of that row only: a row that can't
//! be decoded fails its key, and if the server rejects a batched statement, each lookup is repeated on its own.

use std::{error::Error, fmt::Debug, hash::Hash, slice, sync::Arc, time::Instant};

use sqlx::postgres::PgRow;
use symbolon_batcher::{BatchError, BatchStats, BatchTiming, Batcher};

use super::{
    Query, ShardLimits,
    access::{Access, is_down, timed_out},
};
use crate::store_error::StoreError;

/// SQLSTATE of a statement that exceeded the server's timeout, after which no time is left for another one.
const CANCELED: &str = "57014";

/// Number of times that a batch yields to let more lookups join: a query costs the server as much as twenty rows.
const YIELDS: u32 = 3;

/// A table whose rows are looked up by a unique key.
pub(super) trait Table: Debug + 'static {
    type Key: Debug + Clone + Eq + Hash + Send + Sync + 'static;
    type Row: Debug + Clone + Send + 'static;
    /// Name of a row in error messages.
    const NAME: &'static str;

    /// Returns the query for one key.
    fn find(key: &Self::Key) -> Query<'_>;

    /// Returns the query for several keys.
    fn find_any(keys: &[Self::Key]) -> Query<'_>;

    /// Returns the key of a row.
    fn key(row: &PgRow) -> Result<Self::Key, sqlx::Error>;

    /// Decodes a row strictly.
    fn decode(row: &PgRow) -> Result<Self::Row, Box<dyn Error + Send + Sync>>;
}

/// A decoded row, or why it can't be decoded.
type Decoded<R> = Result<R, Arc<dyn Error + Send + Sync>>;

/// Batches lookups in a table. An error of the statement is returned to all lookups that share it.
type TableBatcher<T> = Batcher<<T as Table>::Key, Decoded<<T as Table>::Row>, Arc<sqlx::Error>>;

/// Lookups in one table of a shard.
#[derive(Debug)]
pub(super) struct Lookups<T: Table> {
    access: Arc<Access>,
    /// `None` if lookups are not batched.
    batcher: Option<TableBatcher<T>>,
}

impl<T: Table> Lookups<T> {
    pub(super) fn new(access: Arc<Access>, limits: &ShardLimits) -> Self {
        let timing = BatchTiming { timeout: limits.timeout, yields: YIELDS };
        Self { access, batcher: (limits.batches.max_keys > 1).then(|| Batcher::new(limits.batches, timing)) }
    }

    /// Returns the row of `key`.
    pub(super) async fn find(&self, key: T::Key) -> Result<Option<T::Row>, StoreError> {
        let begun = Instant::now();
        let found = self.access.permitted(async |is_probe| match &self.batcher {
            Some(batcher) if !is_probe => match self.find_batched(batcher, key.clone()).await {
                Err(error) if is_rejected(&error) => self.find_single(&key, begun).await,
                found => found,
            },
            _ => self.find_single(&key, begun).await,
        });
        let row = found.await?.map_err(|source| self.access.unavailable(source))?;
        row.transpose().map_err(|source| self.access.corrupt(T::NAME, source))
    }

    pub(super) fn stats(&self) -> Option<BatchStats> {
        self.batcher.as_ref().map(Batcher::stats)
    }

    async fn find_single(&self, key: &T::Key, begun: Instant) -> Result<Option<Decoded<T::Row>>, Arc<sqlx::Error>> {
        let fetched = self.access.with_timeout(begun, fetch::<T>(&self.access, slice::from_ref(key)));
        // Boxed because sqlx's future is large, and the futures around it would copy it.
        Ok(Box::pin(fetched).await?.pop().map(|(_, row)| row))
    }

    async fn find_batched(
        &self,
        batcher: &TableBatcher<T>,
        key: T::Key,
    ) -> Result<Option<Decoded<T::Row>>, Arc<sqlx::Error>> {
        let access = Arc::clone(&self.access);
        let found = batcher.find(key, move |keys, _| {
            let access = Arc::clone(&access);
            async move { fetch::<T>(&access, &keys).await.map_err(Arc::new) }
        });
        found.await.map_err(|failure| match failure {
            BatchError::TimedOut => Arc::new(timed_out()),
            // The task ends early only when the runtime shuts down.
            BatchError::Aborted => Arc::new(sqlx::Error::WorkerCrashed),
            BatchError::Fetch(error) => error,
        })
    }
}

/// Returns the rows that exist, with their keys.
async fn fetch<T: Table>(access: &Access, keys: &[T::Key]) -> Result<Vec<(T::Key, Decoded<T::Row>)>, sqlx::Error> {
    let query = match keys {
        [key] => T::find(key),
        keys => T::find_any(keys),
    };
    let rows = access.with_connection(async |connection| query.fetch_all(connection).await).await?;
    rows.iter().map(|row| Ok((T::key(row)?, T::decode(row).map_err(Arc::from)))).collect()
}

/// Whether the server rejected the statement, which may be due to one of its keys.
fn is_rejected(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|refusal| refusal.code().as_deref() != Some(CANCELED)) && !is_down(error)
}
