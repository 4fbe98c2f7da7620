//! How keys are placed, and where one key is.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Serialize;
use symbolon_partitioner::Strategy;

use crate::{
    app::App,
    http::{json::Json, path::Segment, views::PartitionView},
    shards::Placement,
    web::problem::Problem,
};

/// The seed's partition statistics, and the epoch and shares.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PartitionStats {
    /// How keys are placed.
    strategy: Strategy,
    /// The version of the topology.
    #[schema(example = 1)]
    epoch: i64,
    /// How many partition ids there are.
    #[schema(example = 300)]
    total_partitions: u64,
    /// How many shards there are.
    #[schema(example = 3)]
    total_nodes: usize,
    /// How many of the partition ids each shard has.
    #[schema(example = json!({"db-node-0": 100, "db-node-1": 100, "db-node-2": 100}))]
    partitions_per_node: BTreeMap<String, u64>,
    /// The share of the key space that each shard has; null where it depends on the keys.
    #[schema(example = json!({"db-node-0": 0.31, "db-node-1": 0.36, "db-node-2": 0.33}))]
    share_per_node: Option<BTreeMap<String, f64>>,
    /// Replica endpoints of each shard.
    #[schema(example = 0)]
    replica_count: u32,
    /// Virtual nodes on the ring; null for strategies without one.
    #[schema(example = 300)]
    virtual_nodes: Option<usize>,
}

impl PartitionStats {
    /// The statistics of the topology in force. Embedded shards have no replicas.
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

/// Shows how keys are placed.
#[utoipa::path(
    get, path = "/v1/operator/partitions", tag = "operator", operation_id = "partitions",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "The statistics.", body = PartitionStats))
)]
pub(in crate::http) async fn all(State(app): State<App>) -> Result<Json<PartitionStats>, Problem> {
    Ok(Json(PartitionStats::new(&*app.shards().current()?)))
}

/// Where a key is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct KeyPlacement {
    /// The key.
    #[schema(example = "ada")]
    key: String,
    /// Where it lives now.
    #[serde(flatten)]
    now: PartitionView,
    /// Where it will live when the move under way is finished; null if none is.
    after: Option<PartitionView>,
    /// The version of the topology.
    #[schema(example = 1)]
    epoch: i64,
}

/// Shows where a key lives: a user id, or a canonical login name.
#[utoipa::path(
    get, path = "/v1/operator/partitions/{key}", tag = "operator", operation_id = "partition_of_key",
    security(("operator_token" = []), ("session" = [])),
    params(("key" = String, Path, description = "Any key.", example = "ada")),
    responses((status = 200, description = "Its place.", body = KeyPlacement))
)]
pub(in crate::http) async fn of_key(
    State(app): State<App>,
    Segment(key): Segment,
) -> Result<Json<KeyPlacement>, Problem> {
    let placement = app.shards().current()?;
    let now = PartitionView::new(placement.partitioner.partition(&key));
    Ok(Json(KeyPlacement { now, key, after: None, epoch: placement.epoch }))
}
