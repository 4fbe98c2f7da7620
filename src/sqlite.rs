//! SQLite files that several processes on one machine share.
//!
//! A [`Database`] reads with a small pool and writes with one connection at a time. SQLite allows one writer, and a fair queue
//! within the process is better than contention on the file lock. Every write transaction is `BEGIN IMMEDIATE`, because a
//! transaction that starts with a read fails when it writes after another process has written.
//!
//! WAL with `synchronous = FULL` survives kill -9 and power loss. [`Durability::Relaxed`] skips the fsync: the write survives
//! kill -9, but a power loss may undo the last such writes. It is used only where that is harmless.

mod upkeep;

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{
    AssertSqlSafe, Connection, Executor, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    migrations::{Source, migrator},
    store_error::{Outcome, StoreError},
    sync::MutexExt,
};

/// Time that a write waits for other writers, in this and other processes, before it fails.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;
/// Default size of each connection's page cache, in KiB; the same as SQLite's.
pub const CACHE_KIB: u64 = 2000;

/// Failures that a committed write must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Power loss: the commit waits for the disk.
    Full,
    /// A crash of the process, but not power loss.
    Relaxed,
}

/// One SQLite file.
#[derive(Debug)]
pub struct Database {
    name: String,
    path: PathBuf,
    /// Device and inode, to detect that another file has taken its path.
    identity: (u64, u64),
    /// Whether the last write failed because of the disk.
    is_failing: AtomicBool,
    last_failure: Arc<LastFailure>,
    readers: SqlitePool,
    full: SqlitePool,
    relaxed: SqlitePool,
    write_lock: Mutex<()>,
    cache_kib: Arc<AtomicU64>,
}

/// A write transaction, which holds the write lock. Dropping it rolls back.
pub struct Write<'a> {
    transaction: Transaction<'static, Sqlite>,
    database: &'a Database,
    _lock: MutexGuard<'a, ()>,
}

impl std::ops::Deref for Write<'_> {
    type Target = Transaction<'static, Sqlite>;

    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}

impl std::ops::DerefMut for Write<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.transaction
    }
}

impl Write<'_> {
    /// Commits. The changes are durable, as requested, when this returns.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await.map_err(|source| self.database.unavailable(source))?;
        self.database.is_failing.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl Database {
    /// Opens or creates the file and runs `migrations`. `name` identifies the store in errors.
    pub async fn open(name: &str, path: &Path, migrations: &[Source]) -> Result<Self, OpenError> {
        let fail = |source: Box<dyn std::error::Error + Send + Sync>| OpenError { path: path.to_owned(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        migrate(path, options.clone(), migrations).await.map_err(fail)?;
        // The file exists now. If it disappears, later connections must fail instead of creating an empty one.
        let options = options.create_if_missing(false);
        let identity = identity(path).map_err(|source| fail(source.into()))?;
        let cache_kib = Arc::new(AtomicU64::new(CACHE_KIB));
        let last_failure = Arc::default();
        let pool = |connections| {
            let cache_kib = Arc::clone(&cache_kib);
            SqlitePoolOptions::new().max_connections(connections).acquire_timeout(BUSY_TIMEOUT).after_connect(
                move |connection, _| {
                    let set_cache = upkeep::set_cache(cache_kib.load(Ordering::Relaxed));
                    Box::pin(async move { connection.execute(set_cache).await.map(drop) })
                },
            )
        };
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            identity,
            is_failing: AtomicBool::new(false),
            readers: pool(READERS).connect_lazy_with(options.clone().pragma("query_only", "on")),
            full: discarding_suspect(pool(1), &last_failure).connect_lazy_with(options.clone()),
            relaxed: discarding_suspect(pool(1), &last_failure)
                .connect_lazy_with(options.synchronous(SqliteSynchronous::Normal)),
            last_failure,
            write_lock: Mutex::new(()),
            cache_kib,
        })
    }

    /// Name of the store in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the pool for queries outside write transactions.
    pub fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    /// Takes the write lock and begins a write transaction. Fails without effect if this takes longer than [`BUSY_TIMEOUT`].
    pub async fn write(&self, durability: Durability) -> Result<Write<'_>, StoreError> {
        let pool = match durability {
            Durability::Full => &self.full,
            Durability::Relaxed => &self.relaxed,
        };
        let begin = async {
            let lock = self.write_lock.lock().await;
            Ok((pool.begin_with("BEGIN IMMEDIATE").await?, lock))
        };
        // The driver rolls back a transaction that begins after the timeout.
        let begun = tokio::time::timeout(BUSY_TIMEOUT, begin).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let (transaction, lock) = begun.map_err(|source| self.failed(Outcome::NotSent, source))?;
        Ok(Write { transaction, database: self, _lock: lock })
    }

    /// Checks that the file exists and can be read. If the last write failed because of the disk, also checks that it can be
    /// written.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let found = identity(&self.path).map_err(|source| self.unavailable(source.into()))?;
        if found != self.identity {
            let replaced = io::Error::other("the database file has been replaced by another file");
            return Err(self.unavailable(replaced.into()));
        }
        let read = sqlx::query("SELECT 1 FROM sqlite_schema LIMIT 1").execute(&self.readers).await;
        read.map_err(|source| self.unavailable(source))?;
        if self.is_failing.load(Ordering::Relaxed) { self.check_writable().await } else { Ok(()) }
    }

    /// Writes one page of the file without changing it.
    async fn check_writable(&self) -> Result<(), StoreError> {
        let mut write = self.write(Durability::Full).await?;
        let version = sqlx::query_scalar::<_, i64>("PRAGMA user_version").fetch_one(&mut **write).await;
        let version = version.map_err(|source| self.unavailable(source))?;
        let same = AssertSqlSafe(format!("PRAGMA user_version = {version}"));
        write.execute(same).await.map_err(|source| self.unavailable(source))?;
        write.commit().await
    }

    /// Converts a driver error into a store error whose effect is unknown.
    pub fn unavailable(&self, source: sqlx::Error) -> StoreError {
        self.failed(Outcome::Unknown, source)
    }

    fn failed(&self, outcome: Outcome, source: sqlx::Error) -> StoreError {
        if is_disk_error(&source) {
            self.is_failing.store(true, Ordering::Relaxed);
            self.last_failure.record();
        }
        StoreError::Unavailable { store: self.name.clone(), outcome, source: source.into() }
    }

    /// Returns the error for a stored value that can't be decoded.
    pub fn corrupt(
        &self,
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Corrupt { store: self.name.clone(), what, source: source.into() }
    }

    /// Closes all connections, which checkpoints the write-ahead log into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.relaxed.close().await;
        self.full.close().await;
    }
}

/// Makes a pool close connections with a suspect state instead of reusing them:
/// - connections inside a transaction. After a disk error SQLite may end a transaction itself; then the rollback fails, and the
///   driver considers the connection to be inside the transaction for ever.
/// - connections opened before the last disk error. SQLite opens a file that can't be written as read-only, and never reopens
///   it.
fn discarding_suspect(pool: SqlitePoolOptions, last_failure: &Arc<LastFailure>) -> SqlitePoolOptions {
    let last_failure = Arc::clone(last_failure);
    pool.before_acquire(move |connection, metadata| {
        let is_suspect = connection.is_in_transaction() || last_failure.is_within(metadata.age);
        Box::pin(std::future::ready(Ok(!is_suspect)))
    })
}

/// Time of the last disk error.
#[derive(Debug, Default)]
struct LastFailure(std::sync::Mutex<Option<Instant>>);

impl LastFailure {
    fn record(&self) {
        *self.0.locked() = Some(Instant::now());
    }

    /// Whether the last disk error was within the last `time`.
    fn is_within(&self, time: Duration) -> bool {
        self.0.locked().is_some_and(|at| at.elapsed() <= time)
    }
}

/// Whether an error concerns the file or its disk: primary codes READONLY, IOERR, CORRUPT, FULL, CANTOPEN and NOTADB.
fn is_disk_error(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| [8, 10, 11, 13, 14, 26].contains(&(code & 0xff)))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = std::fs::metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// A database file can't be opened, created or migrated.
#[derive(Debug, thiserror::Error)]
#[error("cannot open database file {}", path.display())]
pub struct OpenError {
    path: PathBuf,
    source: Box<dyn std::error::Error + Send + Sync>,
}

async fn migrate(
    path: &Path,
    options: SqliteConnectOptions,
    migrations: &[Source],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let _lock = lock_file(path.with_extension("lock")).await?;
    // Enables incremental vacuum, which is possible in new files only. The pragma takes the write lock, so it is not set later.
    let is_new = std::fs::metadata(path).map_or(true, |file| file.len() == 0);
    let options = if is_new { options.auto_vacuum(SqliteAutoVacuum::Incremental) } else { options };
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await?;
    migrator(migrations).run(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Takes a lock between processes, held until the file is dropped, because sqlx does not lock SQLite migrations.
async fn lock_file(path: PathBuf) -> io::Result<File> {
    tokio::task::spawn_blocking(move || {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok(file)
    })
    .await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_behind_a_busy_writer_times_out_without_effect() {
        let directory = tempfile::tempdir().expect("a directory");
        let migration = ("rows", "CREATE TABLE rows (id INTEGER PRIMARY KEY)");
        let path = directory.path().join("rows.sqlite");
        let database = Database::open("rows", &path, &[migration]).await.expect("a database");
        let busy = database.write(Durability::Full).await.expect("the lock");
        tokio::time::pause();
        let second = tokio::time::timeout(2 * BUSY_TIMEOUT, database.write(Durability::Relaxed)).await;
        tokio::time::resume();
        let Err(error) = second.expect("the wait ends by itself") else { panic!("two writers at a time") };
        assert!(error.is_without_effect(), "{error}");
        drop(busy);
        database.write(Durability::Full).await.expect("the lock is free again");
    }
}
