//! Lookups by key, joined into batches.
//!
//! Each lookup has a deadline and leave of the circuit breaker of its own, as any other statement has; only the statement
//! is shared, and lasts no longer than the last of those who share it. The lookup that probes a database that was down goes
//! alone: it does not wait behind what may hang. What is wrong with one row is told to those who asked for it: a row that
//! can't be read is one key's, and where the server refuses the statement for many, each asks for its own.

use std::{error::Error, fmt::Debug, hash::Hash, slice, sync::Arc, time::Instant};

use sqlx::postgres::PgRow;
use symbolon_batcher::{BatchError, BatchStats, BatchTiming, Batcher};

use super::{
    Query, ShardLimits,
    access::{Access, is_down, late},
};
use crate::store_error::StoreError;

/// The code of a statement that took too long for the server: there is no time for another.
const CANCELED: &str = "57014";

/// How often a batch lets others go first: a query costs the server as much as twenty rows.
const YIELDS: u32 = 3;

/// Rows of a table, looked up by a unique key.
pub(super) trait Table: Debug + 'static {
    /// What a row is found by.
    type Key: Debug + Clone + Eq + Hash + Send + Sync + 'static;
    /// A row, decoded.
    type Row: Debug + Clone + Send + 'static;
    /// What a row is, for messages.
    const WHAT: &'static str;

    /// The statement for one.
    fn find(key: &Self::Key) -> Query<'_>;

    /// The statement for any of these.
    fn find_any(keys: &[Self::Key]) -> Query<'_>;

    /// What a row was found by.
    fn key(row: &PgRow) -> Result<Self::Key, sqlx::Error>;

    /// A row read back, strictly.
    fn decode(row: &PgRow) -> Result<Self::Row, Box<dyn Error + Send + Sync>>;
}

/// A row, or why it can't be read.
type Decoded<R> = Result<R, Arc<dyn Error + Send + Sync>>;

/// Joins lookups in a table; what fails of the statement is told to all who share it.
type TableBatcher<T> = Batcher<<T as Table>::Key, Decoded<<T as Table>::Row>, Arc<sqlx::Error>>;

/// Lookups in one table of a shard.
#[derive(Debug)]
pub(super) struct Lookups<T: Table> {
    access: Arc<Access>,
    /// None if each lookup has a statement of its own.
    batcher: Option<TableBatcher<T>>,
}

impl<T: Table> Lookups<T> {
    pub(super) fn new(access: Arc<Access>, limits: &ShardLimits) -> Self {
        let timing = BatchTiming { timeout: limits.timeout, yields: YIELDS };
        Self { access, batcher: (limits.batches.max_keys > 1).then(|| Batcher::new(limits.batches, timing)) }
    }

    /// The row of `key`.
    pub(super) async fn find(&self, key: T::Key) -> Result<Option<T::Row>, StoreError> {
        let begun = Instant::now();
        let found = self.access.permitted(async |is_probe| match &self.batcher {
            Some(batcher) if !is_probe => match self.by_batch(batcher, key.clone()).await {
                Err(error) if is_refused(&error) => self.alone(&key, begun).await,
                found => found,
            },
            _ => self.alone(&key, begun).await,
        });
        let row = found.await?.map_err(|source| self.access.unavailable(source))?;
        row.transpose().map_err(|source| self.access.corrupt(T::WHAT, source))
    }

    pub(super) fn stats(&self) -> Option<BatchStats> {
        self.batcher.as_ref().map(Batcher::stats)
    }

    async fn alone(&self, key: &T::Key, begun: Instant) -> Result<Option<Decoded<T::Row>>, Arc<sqlx::Error>> {
        let fetched = self.access.in_time(begun, fetch::<T>(&self.access, slice::from_ref(key)));
        // In a box, as sqlx's future is large, and would be moved by each that is around it.
        Ok(Box::pin(fetched).await?.pop().map(|(_, row)| row))
    }

    async fn by_batch(
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
            BatchError::TimedOut => Arc::new(late()),
            // It dies only with the runtime.
            BatchError::Aborted => Arc::new(sqlx::Error::WorkerCrashed),
            BatchError::Fetch(error) => error,
        })
    }
}

/// The rows that are there, by their keys.
async fn fetch<T: Table>(access: &Access, keys: &[T::Key]) -> Result<Vec<(T::Key, Decoded<T::Row>)>, sqlx::Error> {
    let query = match keys {
        [key] => T::find(key),
        keys => T::find_any(keys),
    };
    let rows = access.leased(async |connection| query.fetch_all(connection).await).await?;
    rows.iter().map(|row| Ok((T::key(row)?, T::decode(row).map_err(Arc::from)))).collect()
}

/// Whether the server refused the statement, for whichever key.
fn is_refused(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|refusal| refusal.code().as_deref() != Some(CANCELED)) && !is_down(error)
}
