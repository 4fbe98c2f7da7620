//! The files of embedded storage, for what only a crash or another process would do to them.

use std::{path::Path, time::Duration};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::Service;

/// A connection to a file that instances may have open.
pub async fn sqlite(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(10));
    SqliteConnection::connect_with(&options).await.expect("the file opens")
}

/// Connections to all shards of an instance.
async fn shards(service: &Service) -> Vec<SqliteConnection> {
    let mut shards = Vec::new();
    for shard in 0..3 {
        shards.push(sqlite(&service.data().join(format!("db-node-{shard}.sqlite"))).await);
    }
    shards
}

/// Runs a statement on every shard; returns how many rows it changed.
pub async fn on_every_shard(service: &Service, statement: &'static str) -> u64 {
    let mut changed = 0;
    for mut shard in shards(service).await {
        changed += sqlx::query(statement).execute(&mut shard).await.expect("the statement runs").rows_affected();
    }
    changed
}

/// Takes the write lock of every shard, so that changes of users wait until the connections are dropped.
pub async fn hold_writers(service: &Service) -> Vec<SqliteConnection> {
    let mut held = shards(service).await;
    for shard in &mut held {
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(shard).await.expect("the write lock");
    }
    held
}
