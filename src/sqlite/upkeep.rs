//! What keeps a file and its memory small: giving back free pages, folding the write-ahead log into the file, and the size
//! of the caches.

use std::sync::atomic::Ordering;

use sqlx::{AssertSqlSafe, Executor, Sqlite, SqlitePool, pool::PoolConnection};

use super::Database;
use crate::store_error::StoreError;

/// How many pages are given back in one transaction, so that it holds nobody up.
const PAGES: i64 = 500;

/// The statement that bounds a connection's cache, in KiB.
pub(super) fn set_cache(kib: u64) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("PRAGMA cache_size = -{kib}"))
}

impl Database {
    /// Gives the file's free pages and its write-ahead log back to the disk; how many pages that were. Files made before
    /// they kept track of free pages only lose the log.
    ///
    /// # Errors
    /// If the file can't be written, or others hold on to it for long.
    pub async fn compact(&self) -> Result<u64, StoreError> {
        let free = self.free_pages().await?;
        let mut left = free;
        while left > 0 {
            let _turn = self.turn.lock().await;
            let vacuum = AssertSqlSafe(format!("PRAGMA incremental_vacuum({PAGES})"));
            self.full.execute(vacuum).await.map_err(|source| self.unavailable(source))?;
            let now_left = self.free_pages().await?;
            if now_left >= left {
                break;
            }
            left = now_left;
        }
        let _turn = self.turn.lock().await;
        self.full.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.map_err(|source| self.unavailable(source))?;
        Ok(u64::try_from(free - left).unwrap_or(0))
    }

    async fn free_pages(&self) -> Result<i64, StoreError> {
        sqlx::query_scalar("PRAGMA freelist_count")
            .fetch_one(&self.full)
            .await
            .map_err(|source| self.unavailable(source))
    }

    /// Bounds the cache of each connection, in KiB, and gives back what is above it.
    ///
    /// # Errors
    /// If a connection can't be had.
    pub async fn set_cache(&self, kib: u64) -> Result<(), StoreError> {
        self.cache_kib.store(kib, Ordering::Relaxed);
        let resized = async {
            resize_caches(&self.readers, kib).await?;
            let _turn = self.turn.lock().await;
            resize_caches(&self.full, kib).await?;
            resize_caches(&self.relaxed, kib).await
        };
        resized.await.map_err(|source| self.unavailable(source))
    }
}

/// All connections of a pool are taken before the first is given back, so that each comes by once. Taking one may open
/// another, because one that was just used is not back yet: so the size is looked at anew each time.
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
        let mut write = database.write(Durability::Full).await.expect("a turn");
        sqlx::query(statement).execute(&mut **write).await.expect("written");
        write.commit().await.expect("committed");
    }

    #[tokio::test]
    async fn what_was_deleted_is_given_back_to_the_disk() {
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
    async fn every_connection_has_the_cache_that_was_set_last() {
        let directory = tempfile::tempdir().expect("a directory");
        let database = database(&directory).await;
        let cache = async |pool: &SqlitePool| -> i64 {
            sqlx::query_scalar("PRAGMA cache_size").fetch_one(pool).await.expect("a size")
        };
        assert_eq!(cache(database.reader()).await, -(CACHE_KIB as i64));
        database.set_cache(250).await.expect("set");
        let held = database.reader().acquire().await.expect("a connection that was there");
        assert_eq!(cache(database.reader()).await, -250, "a new one");
        drop(held);
        assert_eq!((cache(&database.full).await, cache(&database.relaxed).await), (-250, -250));
        assert_eq!(cache(database.reader()).await, -250);
    }
}
