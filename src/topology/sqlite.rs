//! Catalog of embedded storage: an SQLite file beside the shards. It also records the names of the files that hold users.

use std::{collections::BTreeSet, path::Path};

use sqlx::Row;
use symbolon_partitioner::PartitionerSpec;

use super::{FIRST_EPOCH, Topology};
use crate::{
    migrations::Source,
    sqlite::{Database, Durability, OpenError},
    store_error::StoreError,
};

const MIGRATIONS: &[Source] = &[
    ("topology", include_str!("../../migrations/sqlite/catalog/0001_topology.sql")),
    ("files", include_str!("../../migrations/sqlite/catalog/0002_files.sql")),
];

/// The catalog could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns the current topology. If there is none, stores `initial` first.
pub async fn load_or_create(path: &Path, initial: &PartitionerSpec) -> Result<Topology, CatalogError> {
    with_catalog(path, async |database| read_or_write(database, initial).await).await
}

/// Returns the names of the recorded files.
pub async fn recorded_files(path: &Path) -> Result<BTreeSet<String>, CatalogError> {
    with_catalog(path, async |database| {
        let names = sqlx::query_scalar("SELECT name FROM files").fetch_all(database.reader()).await;
        Ok(names.map_err(|source| database.unavailable(source))?.into_iter().collect())
    })
    .await
}

/// Records the names of files that hold users.
pub async fn record_files(path: &Path, names: &[String]) -> Result<(), CatalogError> {
    with_catalog(path, async |database| {
        let mut write = database.write(Durability::Full).await?;
        for name in names {
            let insert = sqlx::query("INSERT INTO files VALUES (?) ON CONFLICT DO NOTHING").bind(name);
            insert.execute(&mut **write).await.map_err(|source| database.unavailable(source))?;
        }
        write.commit().await
    })
    .await
}

async fn with_catalog<T>(
    path: &Path,
    work: impl AsyncFnOnce(&Database) -> Result<T, StoreError>,
) -> Result<T, CatalogError> {
    let database = Database::open("catalog", path, MIGRATIONS).await?;
    let done = work(&database).await;
    database.close().await;
    Ok(done?)
}

async fn read_or_write(database: &Database, initial: &PartitionerSpec) -> Result<Topology, StoreError> {
    let document = serde_json::to_string(initial).map_err(|source| database.corrupt("topology", source))?;
    let mut write = database.write(Durability::Full).await?;
    sqlx::query(
        "INSERT INTO topology (singleton, epoch, state, document) VALUES (1, ?, 'stable', ?) ON CONFLICT DO NOTHING",
    )
    .bind(FIRST_EPOCH)
    .bind(document)
    .execute(&mut **write)
    .await
    .map_err(|source| database.unavailable(source))?;
    let row = sqlx::query("SELECT epoch, document FROM topology WHERE state = 'stable'")
        .fetch_one(&mut **write)
        .await
        .map_err(|source| database.unavailable(source))?;
    write.commit().await?;
    let (epoch, document) = (row.get("epoch"), row.get::<String, _>("document"));
    let placement = serde_json::from_str(&document).map_err(|source| database.corrupt("topology", source))?;
    Ok(Topology { epoch, placement })
}
