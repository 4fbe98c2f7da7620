//! Maintenance that keeps a database file and its memory small: compaction, and the size of the page caches.

use std::sync::atomic::Ordering;

use sqlx::{AssertSqlSafe, Executor, Sqlite, SqlitePool, pool::PoolConnection};

use super::Database;
use crate::store_error::StoreError;

/// Maximum number of pages released in one transaction, so that other writers do not wait long.
const PAGES_PER_TRANSACTION: i64 = 500;

/// Returns the statement that sets a connection's cache size, in KiB.
pub(super) fn set_cache(kib: u64) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("PRAGMA cache_size = -{kib}"))
}

impl Database {
    /// Returns free pages and the write-ahead log to the file system. Returns the number of pages. In files created without
    /// incremental vacuum only the log is truncated.
    ///
    /// # Errors
    /// Fails if the file can't be written, or if other processes keep it locked for longer than the busy timeout.
    pub async fn compact(&self) -> Result<u64, StoreError> {
        let free = self.free_pages().await?;
        let mut left = free;
        while left > 0 {
            let _lock = self.write_lock.lock().await;
            let vacuum = AssertSqlSafe(format!("PRAGMA incremental_vacuum({PAGES_PER_TRANSACTION})"));
            self.full.execute(vacuum).await.map_err(|source| self.unavailable(source))?;
            let remaining = self.free_pages().await?;
            if remaining >= left {
                break;
            }
            left = remaining;
        }
        let _lock = self.write_lock.lock().await;
        self.full.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.map_err(|source| self.unavailable(source))?;
        Ok(u64::try_from(free - left).unwrap_or(0))
    }

    async fn free_pages(&self) -> Result<i64, StoreError> {
        sqlx::query_scalar("PRAGMA freelist_count")
            .fetch_one(&self.full)
            .await
            .map_err(|source| self.unavailable(source))
    }

    /// Sets the cache size of each connection, in KiB, and frees memory above it.
    ///
    /// # Errors
    /// Fails if no connection is available in time.
    pub async fn set_cache(&self, kib: u64) -> Result<(), StoreError> {
        self.cache_kib.store(kib, Ordering::Relaxed);
        let resized = async {
            resize_caches(&self.readers, kib).await?;
            let _lock = self.write_lock.lock().await;
            resize_caches(&self.full, kib).await?;
            resize_caches(&self.relaxed, kib).await
        };
        resized.await.map_err(|source| self.unavailable(source))
    }
}

/// Sets the cache size of all connections of a pool. Holds each connection until all are done, so that each is set once. The
/// pool may open another connection meanwhile, so its size is read again each time.
async fn resize_caches(pool: &SqlitePool, kib: u64) -> Result<(), sqlx::Error> {
    let mut held: Vec<PoolConnection<Sqlite>> = Vec::new();
    while held.len() < pool.size() as usize {
        let mut connection = pool.acquire().await?;
        connection.execute(set_cache(kib)).await?;
        connection.execute("PRAGMA shrink_memory").await?;
        held.push(connection);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{CACHE_KIB, Durability};

    async fn database(directory: &tempfile::TempDir) -> Database {
        let migration = ("rows", "CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT)");
        Database::open("rows", &directory.path().join("rows.sqlite"), &[migration]).await.expect("a database")
    }

    async fn write(database: &Database, statement: &'static str) {
        let mut write = database.write(Durability::Full).await.expect("the lock");
        sqlx::query(statement).execute(&mut **write).await.expect("written");
        write.commit().await.expect("committed");
    }

    #[tokio::test]
    async fn compaction_returns_free_pages_to_the_file_system() {
        let directory = tempfile::tempdir().expect("a directory");
        let database = database(&directory).await;
        let size = |name: &str| std::fs::metadata(directory.path().join(name)).expect("a file").len();
        let fill = "INSERT INTO rows WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
                    SELECT i, hex(randomblob(100)) FROM n";
        write(&database, fill).await;
        assert_eq!(database.compact().await.expect("compacted"), 0, "nothing is free yet");
        let full = size("rows.sqlite");
        write(&database, "DELETE FROM rows WHERE id > 100").await;
        assert!(size("rows.sqlite-wal") > 0);
        let pages = database.compact().await.expect("compacted");
        assert!(pages > 900, "{pages}");
        assert!(size("rows.sqlite") < full / 10, "{} of {full}", size("rows.sqlite"));
        assert_eq!(size("rows.sqlite-wal"), 0);
        let kept: i64 =
            sqlx::query_scalar("SELECT count(*) FROM rows").fetch_one(database.reader()).await.expect("a count");
        assert_eq!(kept, 100);
    }

    #[tokio::test]
    async fn every_connection_has_the_cache_size_that_was_set_last() {
        let directory = tempfile::tempdir().expect("a directory");
        let database = database(&directory).await;
        let cache = async |pool: &SqlitePool| -> i64 {
            sqlx::query_scalar("PRAGMA cache_size").fetch_one(pool).await.expect("a size")
        };
        assert_eq!(cache(database.reader()).await, -(CACHE_KIB as i64));
        database.set_cache(250).await.expect("set");
        let held = database.reader().acquire().await.expect("an existing connection");
        assert_eq!(cache(database.reader()).await, -250, "a new connection");
        drop(held);
        assert_eq!((cache(&database.full).await, cache(&database.relaxed).await), (-250, -250));
        assert_eq!(cache(database.reader()).await, -250);
    }
}
