//! Catalog in a PostgreSQL database, by default the first shard's.

use std::time::Duration;

use sqlx::{PgConnection, Row, postgres::PgConnectOptions};
use symbolon_partitioner::PartitionerSpec;
use tokio::sync::Mutex;

use super::{FIRST_EPOCH, Topology};
use crate::{
    migrations::{Source, migrator},
    postgres::Dialer,
};

const MIGRATIONS: &[Source] = &[("topology", include_str!("../../migrations/postgres/catalog/0001_topology.sql"))];

/// Table that records which migrations have run. A shard in the same database has its own.
const MIGRATIONS_TABLE: &str = "symbolon_catalog_migrations";

/// Timeout of a catalog request, including the first migration.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The catalog can't be reached, migrated or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach or read the catalog")]
pub struct CatalogUnavailable(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Client of the catalog. Keeps one connection open while the catalog answers.
#[derive(Debug)]
pub struct PgCatalog {
    dialer: Dialer,
    connection: Mutex<Option<PgConnection>>,
}

impl PgCatalog {
    /// Creates a client that connects when the catalog is first read.
    pub fn new(options: PgConnectOptions) -> Self {
        Self { dialer: Dialer::new(options, "symbolon catalog", &[]), connection: Mutex::new(None) }
    }

    /// Returns the current topology. If there is none, stores `initial` first; instances that start at the same time agree
    /// on one.
    pub async fn load_or_create(&self, initial: &PartitionerSpec) -> Result<Topology, CatalogUnavailable> {
        let load = async {
            let mut connection = self.connect().await?;
            let mut migrator = migrator(MIGRATIONS);
            migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
            migrator.run_direct(None, &mut connection, false).await?;
            sqlx::query(
                "INSERT INTO topology (singleton, epoch, state, document) VALUES (true, $1, 'stable', $2::text::json) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(FIRST_EPOCH)
            .bind(serde_json::to_string(initial)?)
            .execute(&mut connection)
            .await?;
            self.read(connection).await
        };
        with_timeout(load).await
    }

    /// Returns the current topology.
    pub async fn load(&self) -> Result<Topology, CatalogUnavailable> {
        with_timeout(async { self.read(self.connect().await?).await }).await
    }

    async fn connect(&self) -> Result<PgConnection, Failure> {
        match self.connection.lock().await.take() {
            Some(connection) => Ok(connection),
            None => Ok(self.dialer.dial().await?),
        }
    }

    /// Reads the topology and keeps the connection for the next read. A connection on which a statement failed or timed out
    /// is dropped, because a server that hangs does not enforce its own timeouts.
    async fn read(&self, mut connection: PgConnection) -> Result<Topology, Failure> {
        let query = sqlx::query("SELECT epoch, document::text FROM topology WHERE state = 'stable'");
        let row = query.fetch_one(&mut connection).await?;
        *self.connection.lock().await = Some(connection);
        Ok(Topology { epoch: row.try_get("epoch")?, placement: serde_json::from_str(row.try_get("document")?)? })
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn with_timeout<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, CatalogUnavailable> {
    match tokio::time::timeout(TIMEOUT, work).await {
        Ok(result) => result.map_err(CatalogUnavailable),
        Err(elapsed) => Err(CatalogUnavailable(elapsed.into())),
    }
}
