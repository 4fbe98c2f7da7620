//! The catalog in a PostgreSQL database, by default the first shard's.

use std::time::Duration;

use sqlx::{
    PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{FIRST_EPOCH, Topology};
use crate::{
    migrations::{Source, migrator},
    partitioner::PartitionerSpec,
};

const MIGRATIONS: &[Source] = &[("topology", include_str!("../../migrations/postgres/catalog/0001_topology.sql"))];

/// The table that notes which migrations have run; a shard in the same database has its own.
const MIGRATIONS_TABLE: &str = "symbolon_catalog_migrations";

/// How long the catalog may take to answer, its first migration included.
const DEADLINE: Duration = Duration::from_secs(5);

/// A catalog that can't be reached, migrated or read.
#[derive(Debug, thiserror::Error)]
#[error("the catalog can't be reached or read")]
pub struct CatalogUnavailable(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The catalog. One connection is kept open to it.
#[derive(Debug)]
pub struct PgCatalog {
    pool: PgPool,
}

impl PgCatalog {
    /// A catalog that is connected to when it is first read.
    pub fn new(options: PgConnectOptions) -> Self {
        let options = options.application_name("symbolon catalog");
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(DEADLINE).connect_lazy_with(options);
        Self { pool }
    }

    /// The topology in force; on the first start of all, `initial` becomes it. Instances that start at once agree.
    pub async fn load_or_create(&self, initial: &PartitionerSpec) -> Result<Topology, CatalogUnavailable> {
        let load = async {
            let mut migrator = migrator(MIGRATIONS);
            migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
            migrator.run(&self.pool).await?;
            sqlx::query(
                "INSERT INTO topology (singleton, epoch, state, document) VALUES (true, $1, 'stable', $2::text::json) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(FIRST_EPOCH)
            .bind(serde_json::to_string(initial)?)
            .execute(&self.pool)
            .await?;
            self.read().await
        };
        in_time(load).await
    }

    /// The topology in force.
    pub async fn load(&self) -> Result<Topology, CatalogUnavailable> {
        in_time(self.read()).await
    }

    async fn read(&self) -> Result<Topology, Failure> {
        let query = sqlx::query("SELECT epoch, document::text FROM topology WHERE state = 'stable'");
        let row = query.fetch_one(&self.pool).await?;
        Ok(Topology { epoch: row.try_get("epoch")?, placement: serde_json::from_str(row.try_get("document")?)? })
    }

    /// Closes the connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A frozen server enforces no timeout of its own.
async fn in_time<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, CatalogUnavailable> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(result) => result.map_err(CatalogUnavailable),
        Err(elapsed) => Err(CatalogUnavailable(elapsed.into())),
    }
}
