//! The store that instances share, in both implementations.

use std::path::Path;

use symbolon_batcher::BatchLimits;

use symbolon::shared_store::{redis::RedisSharedStore, sqlite::SqliteSharedStore};
use tempfile::TempDir;

use super::{
    DEADLINE,
    servers::redis::{DEFAULT_BATCHES, Redis},
    temporary_directory,
};

/// A connection to Redis, once it answers.
pub async fn redis_store(url: &str, ca: Option<&Path>, replicas: u32, batches: BatchLimits) -> RedisSharedStore {
    let store = RedisSharedStore::connect(url, ca, replicas, batches).expect("a URL");
    assert!(store.wait_until_available(DEADLINE).await, "Redis does not answer");
    store
}

/// A connection to a single Redis with the default settings.
pub async fn default_redis_store(redis: &Redis) -> RedisSharedStore {
    redis_store(&redis.url(), None, 0, DEFAULT_BATCHES).await
}

/// A new file with a store, `shared.sqlite` in the directory.
pub async fn sqlite_store() -> (TempDir, SqliteSharedStore) {
    let directory = temporary_directory();
    let store = SqliteSharedStore::open(&directory.path().join("shared.sqlite")).await.expect("a store");
    (directory, store)
}
