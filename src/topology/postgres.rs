//! The catalog in a PostgreSQL database, by default the first shard's.

use sqlx::{Connection, PgConnection, Row, postgres::PgConnectOptions};

use super::{FIRST_EPOCH, Topology};
use crate::{
    migrations::{Source, migrator},
    partitioner::PartitionerSpec,
};

const MIGRATIONS: &[Source] = &[("topology", include_str!("../../migrations/postgres/catalog/0001_topology.sql"))];

/// The table that notes which migrations have run; a shard in the same database has its own.
const MIGRATIONS_TABLE: &str = "symbolon_catalog_migrations";

/// A catalog that can't be reached, migrated or read.
#[derive(Debug, thiserror::Error)]
#[error("the catalog can't be reached or read")]
pub struct CatalogUnavailable(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The topology in force; on the first start of all, `initial` becomes it. Instances that start at once agree.
pub async fn load_or_create(
    options: &PgConnectOptions,
    initial: &PartitionerSpec,
) -> Result<Topology, CatalogUnavailable> {
    let load = async {
        let mut connection = PgConnection::connect_with(options).await?;
        let topology = read_or_write(&mut connection, initial).await?;
        connection.close().await?;
        Ok(topology)
    };
    load.await.map_err(CatalogUnavailable)
}

async fn read_or_write(
    connection: &mut PgConnection,
    initial: &PartitionerSpec,
) -> Result<Topology, Box<dyn std::error::Error + Send + Sync>> {
    let mut migrator = migrator(MIGRATIONS);
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator.run(&mut *connection).await?;
    sqlx::query(
        "INSERT INTO topology (singleton, epoch, state, document) VALUES (true, $1, 'stable', $2::text::json) \
         ON CONFLICT DO NOTHING",
    )
    .bind(FIRST_EPOCH)
    .bind(serde_json::to_string(initial)?)
    .execute(&mut *connection)
    .await?;
    let row =
        sqlx::query("SELECT epoch, document::text FROM topology WHERE state = 'stable'").fetch_one(connection).await?;
    Ok(Topology { epoch: row.try_get("epoch")?, placement: serde_json::from_str(row.try_get("document")?)? })
}
