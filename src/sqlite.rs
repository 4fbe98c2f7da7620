//! SQLite files that several processes on one machine share.
//!
//! A [`Database`] reads on a small pool and writes on one connection at a time: SQLite allows one writer, so waiting
//! for the turn in a fair queue beats colliding in the file. Every write transaction is `BEGIN IMMEDIATE`, because a
//! transaction that starts reading and writes later fails when another process wrote in between.
//!
//! WAL with `synchronous = FULL` survives kill -9 and power loss. [`Durability::Relaxed`] skips the fsync: it survives
//! kill -9, and a power loss may undo the last such writes, which is harmless for what uses it.

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

/// How long a write waits for others, of this process and of others, before it fails.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;
/// How much of a file each connection keeps in memory at most, in KiB; SQLite's own default.
pub const CACHE_KIB: u64 = 2000;

/// What a commit must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Power loss: the commit waits for the disk.
    Full,
    /// The end of the process, however abrupt; not power loss.
    Relaxed,
}

/// One SQLite file.
#[derive(Debug)]
pub struct Database {
    name: String,
    path: PathBuf,
    /// Which file it is: another one may take its path.
    identity: (u64, u64),
    /// Whether the last write failed of the disk.
    is_failing: AtomicBool,
    /// When a statement last failed of the disk.
    last_failure: Arc<LastFailure>,
    readers: SqlitePool,
    full: SqlitePool,
    relaxed: SqlitePool,
    turn: Mutex<()>,
    cache_kib: Arc<AtomicU64>,
}

/// A write transaction and the writer's turn; dropping it rolls back.
pub struct Write<'a> {
    transaction: Transaction<'static, Sqlite>,
    database: &'a Database,
    _turn: MutexGuard<'a, ()>,
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
    /// Commits; once this returns, the changes are as durable as was asked for.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await.map_err(|source| self.database.unavailable(source))?;
        self.database.is_failing.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl Database {
    /// Opens or creates the file and brings its tables up to date. `name` stands in errors.
    pub async fn open(name: &str, path: &Path, migrations: &[Source]) -> Result<Self, OpenError> {
        let fail = |source: Box<dyn std::error::Error + Send + Sync>| OpenError { path: path.to_owned(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        migrate(path, options.clone(), migrations).await.map_err(fail)?;
        // From here on it is there: a connection that finds it gone must not make an empty one.
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
            full: closing_doubtful(pool(1), &last_failure).connect_lazy_with(options.clone()),
            relaxed: closing_doubtful(pool(1), &last_failure)
                .connect_lazy_with(options.synchronous(SqliteSynchronous::Normal)),
            last_failure,
            turn: Mutex::new(()),
            cache_kib,
        })
    }

    /// What it is called in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For queries outside a write transaction.
    pub fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    /// Waits for this process's turn and begins a write transaction. If it can't begin within [`BUSY_TIMEOUT`], it fails and
    /// nothing has been sent.
    pub async fn write(&self, durability: Durability) -> Result<Write<'_>, StoreError> {
        let pool = match durability {
            Durability::Full => &self.full,
            Durability::Relaxed => &self.relaxed,
        };
        let begin = async {
            let turn = self.turn.lock().await;
            Ok((pool.begin_with("BEGIN IMMEDIATE").await?, turn))
        };
        // A transaction that begins after it was given up is rolled back by the driver.
        let begun = tokio::time::timeout(BUSY_TIMEOUT, begin).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let (transaction, turn) = begun.map_err(|source| self.failed(Outcome::NotSent, source))?;
        Ok(Write { transaction, database: self, _turn: turn })
    }

    /// Whether the file is there and can be read, and written if the last write failed.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let found = identity(&self.path).map_err(|source| self.unavailable(source.into()))?;
        if found != self.identity {
            let replaced = io::Error::other("another file has taken its place");
            return Err(self.unavailable(replaced.into()));
        }
        let read = sqlx::query("SELECT 1 FROM sqlite_schema LIMIT 1").execute(&self.readers).await;
        read.map_err(|source| self.unavailable(source))?;
        if self.is_failing.load(Ordering::Relaxed) { self.try_to_write().await } else { Ok(()) }
    }

    /// Writes what is there already: a page of the file.
    async fn try_to_write(&self) -> Result<(), StoreError> {
        let mut write = self.write(Durability::Full).await?;
        let version = sqlx::query_scalar::<_, i64>("PRAGMA user_version").fetch_one(&mut **write).await;
        let version = version.map_err(|source| self.unavailable(source))?;
        let same = AssertSqlSafe(format!("PRAGMA user_version = {version}"));
        write.execute(same).await.map_err(|source| self.unavailable(source))?;
        write.commit().await
    }

    /// A driver error as a store error.
    pub fn unavailable(&self, source: sqlx::Error) -> StoreError {
        self.failed(Outcome::Unknown, source)
    }

    fn failed(&self, outcome: Outcome, source: sqlx::Error) -> StoreError {
        if is_of_the_disk(&source) {
            self.is_failing.store(true, Ordering::Relaxed);
            self.last_failure.record();
        }
        StoreError::Unavailable { store: self.name.clone(), outcome, source: source.into() }
    }

    /// A stored value that can't be read.
    pub fn corrupt(
        &self,
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Corrupt { store: self.name.clone(), what, source: source.into() }
    }

    /// Closes every connection, so that the write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.relaxed.close().await;
        self.full.close().await;
    }
}

/// Closes connections whose state is in doubt before they are used again:
/// - those inside a transaction. When the disk fails SQLite may end a transaction itself; the rollback fails then, and the
///   driver takes the connection to be inside it for ever.
/// - those from before the disk last failed. SQLite opens a file that can't be written for reading only, and does not
///   open it again.
fn closing_doubtful(pool: SqlitePoolOptions, last_failure: &Arc<LastFailure>) -> SqlitePoolOptions {
    let last_failure = Arc::clone(last_failure);
    pool.before_acquire(move |connection, metadata| {
        let is_doubtful = connection.is_in_transaction() || last_failure.is_within(metadata.age);
        Box::pin(std::future::ready(Ok(!is_doubtful)))
    })
}

/// When a statement last failed of the disk.
#[derive(Debug, Default)]
struct LastFailure(std::sync::Mutex<Option<Instant>>);

impl LastFailure {
    fn record(&self) {
        *self.lock() = Some(Instant::now());
    }

    /// Whether it was so long ago at most.
    fn is_within(&self, time: Duration) -> bool {
        self.lock().is_some_and(|at| at.elapsed() <= time)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.locked()
    }
}

/// Whether an error is about the file or its disk: primary codes READONLY, IOERR, CORRUPT, FULL, CANTOPEN and NOTADB.
fn is_of_the_disk(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| [8, 10, 11, 13, 14, 26].contains(&(code & 0xff)))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = std::fs::metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// A file that could not be opened, created or migrated.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}", path.display())]
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
    // In new files pages that are free can be given back to the disk. To say so takes the writer's lock, so nobody else does.
    let is_new = std::fs::metadata(path).map_or(true, |file| file.len() == 0);
    let options = if is_new { options.auto_vacuum(SqliteAutoVacuum::Incremental) } else { options };
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await?;
    migrator(migrations).run(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Takes a lock among processes, held until the file is dropped: SQLite's migrations have none of their own.
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
    async fn a_write_behind_a_busy_writer_fails_in_time_and_has_not_been_sent() {
        let directory = tempfile::tempdir().expect("a directory");
        let migration = ("rows", "CREATE TABLE rows (id INTEGER PRIMARY KEY)");
        let path = directory.path().join("rows.sqlite");
        let database = Database::open("rows", &path, &[migration]).await.expect("a database");
        let busy = database.write(Durability::Full).await.expect("the turn");
        tokio::time::pause();
        let second = tokio::time::timeout(2 * BUSY_TIMEOUT, database.write(Durability::Relaxed)).await;
        tokio::time::resume();
        let Err(error) = second.expect("the wait ends by itself") else { panic!("two write at a time") };
        assert!(error.is_without_effect(), "{error}");
        drop(busy);
        database.write(Durability::Full).await.expect("the turn is free again");
    }
}
