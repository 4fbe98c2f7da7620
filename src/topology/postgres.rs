//! The catalog in a PostgreSQL database, by default the first shard's.

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

/// The table that notes which migrations have run; a shard in the same database has its own.
const MIGRATIONS_TABLE: &str = "symbolon_catalog_migrations";

/// How long the catalog may take to answer, its first migration included.
const DEADLINE: Duration = Duration::from_secs(5);

/// A catalog that can't be reached, migrated or read.
#[derive(Debug, thiserror::Error)]
#[error("the catalog can't be reached or read")]
pub struct CatalogUnavailable(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The catalog. One connection is kept open to it while it answers.
#[derive(Debug)]
pub struct PgCatalog {
    dialer: Dialer,
    connection: Mutex<Option<PgConnection>>,
}

impl PgCatalog {
    /// A catalog that is connected to when it is first read.
    pub fn new(options: PgConnectOptions) -> Self {
        Self { dialer: Dialer::new(options, "symbolon catalog", &[]), connection: Mutex::new(None) }
    }

    /// The topology in force; on the first start of all, `initial` becomes it. Instances that start at once agree.
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
        in_time(load).await
    }

    /// The topology in force.
    pub async fn load(&self) -> Result<Topology, CatalogUnavailable> {
        in_time(async { self.read(self.connect().await?).await }).await
    }

    async fn connect(&self) -> Result<PgConnection, Failure> {
        match self.connection.lock().await.take() {
            Some(connection) => Ok(connection),
            None => Ok(self.dialer.dial().await?),
        }
    }

    /// Reads the topology and keeps the connection. One on which something did not end well is closed by then: a frozen
    /// server enforces no timeout of its own, and nothing waits for it here.
    async fn read(&self, mut connection: PgConnection) -> Result<Topology, Failure> {
        let query = sqlx::query("SELECT epoch, document::text FROM topology WHERE state = 'stable'");
        let row = query.fetch_one(&mut connection).await?;
        *self.connection.lock().await = Some(connection);
        Ok(Topology { epoch: row.try_get("epoch")?, placement: serde_json::from_str(row.try_get("document")?)? })
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn in_time<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, CatalogUnavailable> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(result) => result.map_err(CatalogUnavailable),
        Err(elapsed) => Err(CatalogUnavailable(elapsed.into())),
    }
}
