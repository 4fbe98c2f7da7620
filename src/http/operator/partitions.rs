//! Placement of keys on shards.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Serialize;
use symbolon_partitioner::Strategy;

use crate::{
    app::App,
    http::{json::Json, path::PathParam, views::PartitionView},
    shards::Placement,
    web::problem::Problem,
};

/// Partition statistics.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PartitionStats {
    /// Partitioning strategy.
    strategy: Strategy,
    /// Version of the topology.
    #[schema(example = 1)]
    epoch: i64,
    /// Number of partition ids.
    #[schema(example = 300)]
    total_partitions: u64,
    /// Number of shards.
    #[schema(example = 3)]
    total_nodes: usize,
    /// Number of partition ids per shard.
    #[schema(example = json!({"db-node-0": 100, "db-node-1": 100, "db-node-2": 100}))]
    partitions_per_node: BTreeMap<String, u64>,
    /// Fraction of the key space per shard; null if it depends on the keys.
    #[schema(example = json!({"db-node-0": 0.31, "db-node-1": 0.36, "db-node-2": 0.33}))]
    share_per_node: Option<BTreeMap<String, f64>>,
    /// Replica endpoints per shard.
    #[schema(example = 0)]
    replica_count: u32,
    /// Number of virtual nodes on the hash ring; null for strategies without one.
    #[schema(example = 300)]
    virtual_nodes: Option<usize>,
}

impl PartitionStats {
    /// Returns the statistics of the current topology. Embedded shards have no replicas.
    pub fn new(placement: &Placement) -> Self {
        let partitioner = &placement.partitioner;
        let own = |(node, value): (&str, u64)| (node.to_owned(), value);
        let partitions_per_node: BTreeMap<String, u64> =
            partitioner.partitions_per_node().into_iter().map(own).collect();
        let shares = partitioner.shares();
        Self {
            strategy: partitioner.strategy(),
            epoch: placement.epoch,
            total_partitions: partitions_per_node.values().sum(),
            total_nodes: partitioner.nodes().len(),
            partitions_per_node,
            share_per_node: shares
                .map(|shares| shares.into_iter().map(|(node, share)| (node.to_owned(), share)).collect()),
            replica_count: 0,
            virtual_nodes: partitioner.virtual_nodes(),
        }
    }
}

/// Returns how keys are placed on shards.
#[utoipa::path(
    get, path = "/v1/operator/partitions", tag = "operator", operation_id = "partitions",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "Partition statistics.", body = PartitionStats))
)]
pub(in crate::http) async fn all(State(app): State<App>) -> Result<Json<PartitionStats>, Problem> {
    Ok(Json(PartitionStats::new(&*app.shards().current()?)))
}

/// Placement of a key.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct KeyPlacement {
    /// The key, as in the path.
    #[schema(example = "ada")]
    key: String,
    /// Current placement.
    #[serde(flatten)]
    now: PartitionView,
    /// Placement after the current move; null if no move is in progress.
    after: Option<PartitionView>,
    /// Version of the topology.
    #[schema(example = 1)]
    epoch: i64,
}

/// Returns where a key is placed.
///
/// Keys of users are user ids and canonical login names, but any text has a placement.
#[utoipa::path(
    get, path = "/v1/operator/partitions/{key}", tag = "operator", operation_id = "partition_of_key",
    security(("operator_token" = []), ("session" = [])),
    params(("key" = String, Path, description = "The key: a user id, a canonical login name, or any other text.", example = "ada")),
    responses((status = 200, description = "The placement of the key.", body = KeyPlacement))
)]
pub(in crate::http) async fn of_key(
    State(app): State<App>,
    PathParam(key): PathParam,
) -> Result<Json<KeyPlacement>, Problem> {
    let placement = app.shards().current()?;
    let now = PartitionView::new(placement.partitioner.partition(&key));
    Ok(Json(KeyPlacement { now, key, after: None, epoch: placement.epoch }))
}
