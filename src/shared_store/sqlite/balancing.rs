//! Load-balancing settings of operators. Unlike heartbeats they are not repeated, so writes are durable.

use async_trait::async_trait;
use sqlx::Row;
use symbolon_balancer::Algorithm;

use super::SqliteSharedStore;
use crate::{
    clock::Timestamp,
    shared_store::{BalancerControl, Balancing, NodeRecord},
    store_error::StoreError,
};

/// Deletes removed instances that left the fleet, a day after their removal.
pub(super) const REAP: &str = "DELETE FROM balancer_nodes WHERE node_id IN \
    (SELECT node_id FROM balancer_nodes WHERE record IS NULL AND removed_at <= ? - 86400000 \
     AND node_id NOT IN (SELECT instance_id FROM instances) LIMIT ?)";

#[async_trait]
impl BalancerControl for SqliteSharedStore {
    async fn balancing(&self) -> Result<Balancing, StoreError> {
        let rows = sqlx::query("SELECT node_id, record, NULL AS algorithm FROM balancer_nodes UNION ALL SELECT NULL, NULL, algorithm FROM balancing")
            .fetch_all(self.database.reader())
            .await
            .map_err(self.failed())?;
        let mut balancing = Balancing::default();
        for row in rows {
            match (row.get::<Option<String>, _>("node_id"), row.get::<Option<&str>, _>("record")) {
                (None, _) => {
                    balancing.algorithm = row.get::<Option<&str>, _>("algorithm").and_then(|it| it.parse().ok())
                }
                (Some(id), None) => drop(balancing.removed.insert(id)),
                (Some(id), Some(record)) => {
                    let record = serde_json::from_str(record).map_err(|error| self.database.corrupt("node", error))?;
                    balancing.added.insert(id, record);
                }
            }
        }
        Ok(balancing)
    }

    async fn set_algorithm(&self, algorithm: Option<Algorithm>) -> Result<(), StoreError> {
        self.execute_durably(sqlx::query("UPDATE balancing SET algorithm = ?").bind(algorithm.map(Algorithm::name)))
            .await
            .map(drop)
    }

    async fn add_node(&self, node: &NodeRecord) -> Result<(), StoreError> {
        let statement = "INSERT INTO balancer_nodes VALUES (?, ?, NULL) ON CONFLICT (node_id) DO UPDATE \
                         SET record = excluded.record, removed_at = NULL";
        self.execute_durably(sqlx::query(statement).bind(&node.id).bind(sqlx::types::Json(node))).await.map(drop)
    }

    async fn remove_node(&self, id: &str, is_instance: bool) -> Result<bool, StoreError> {
        let query = if is_instance {
            let statement = "INSERT INTO balancer_nodes VALUES (?1, NULL, ?2) ON CONFLICT (node_id) DO UPDATE \
                             SET record = NULL, removed_at = ?2";
            sqlx::query(statement).bind(id).bind(Timestamp::now().millis())
        } else {
            sqlx::query("DELETE FROM balancer_nodes WHERE node_id = ? AND record IS NOT NULL").bind(id)
        };
        Ok(self.execute_durably(query).await? > 0)
    }

    async fn readmit_node(&self, id: &str) -> Result<bool, StoreError> {
        let statement = "DELETE FROM balancer_nodes WHERE node_id = ? AND record IS NULL";
        Ok(self.execute_durably(sqlx::query(statement).bind(id)).await? > 0)
    }
}
