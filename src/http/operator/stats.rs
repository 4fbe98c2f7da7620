//! Statistics of the service.

mod admission;
mod batching;

use std::{collections::BTreeMap, time::Duration};

use admission::AdmissionView;
use axum::extract::State;
use batching::{BatchesView, BatchingView};
use serde::Serialize;

use super::partitions::PartitionStats;
use crate::{
    app::App, breaker::Circuit, clock::Timestamp, http::json::Json, sessions::Sessions, shared_store::Accuracy,
    web::problem::Problem,
};

/// Statistics of the service.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ServiceStats {
    /// Always `stateless`.
    #[schema(example = "stateless")]
    service_type: &'static str,
    /// Sessions of the whole fleet.
    session_management: SessionStats,
    /// Placement of keys on shards.
    data_partitioning: PartitionStats,
    /// Password hashing on this instance.
    password_hashing: HashingStats,
    /// Admitted and rejected requests of this instance.
    admission: AdmissionView,
    /// State of this instance's circuit breaker per store: the id of a shard, or `shared`.
    #[schema(example = json!({"db-node-0": "closed", "db-node-1": "closed", "db-node-2": "open", "shared": "closed"}))]
    circuits: BTreeMap<String, Circuit>,
    /// Batching of this instance's lookups, by shard id. Shards without batching are omitted.
    batching: BTreeMap<String, BatchingView>,
    /// Batching of this instance's session reads; null if they are not batched.
    session_batching: Option<BatchesView>,
    /// Time of this response.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    timestamp: Timestamp,
}

/// Session statistics. Their cost does not depend on the number of sessions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SessionStats {
    /// Number of sessions in the store.
    #[schema(example = 1200)]
    total_sessions: u64,
    /// Idle timeout of sessions, in seconds.
    #[schema(example = 3600)]
    session_ttl: u64,
    /// Mean size of a session in the store, in bytes.
    #[schema(example = 236.0)]
    average_session_size_bytes: f64,
    /// Size of all sessions in the store, in MiB.
    #[schema(example = 0.27)]
    estimated_total_size_mb: f64,
    /// Accuracy of the numbers.
    accuracy: &'static str,
}

/// Describes an accuracy for people.
fn describe_accuracy(accuracy: Accuracy) -> &'static str {
    match accuracy {
        Accuracy::UpperBound => {
            "upper bound: counts all stored sessions; expired sessions, and those ended by ending all sessions of a user, are \
             counted until they are removed, up to a minute after their expiry; sizes exclude indexes and preferences"
        }
        Accuracy::Estimate => {
            "estimate: from a sample of 200 keys per Redis server; with a fraction p of session keys, the relative standard \
             error is about sqrt((1 - p) / (200 p))"
        }
    }
}

/// Password hashing of an instance. Counters start at zero when the instance starts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct HashingStats {
    /// Maximum number of hashes computed at the same time.
    #[schema(example = 2)]
    threads: usize,
    /// Hashes being computed.
    #[schema(example = 1)]
    running: usize,
    /// Hashes waiting for a thread.
    #[schema(example = 0)]
    waiting: usize,
    /// Moving average of the time per hash, in milliseconds.
    #[schema(example = 21.4)]
    mean_milliseconds: f64,
    /// Hashes computed.
    #[schema(example = 48211)]
    computed: u64,
    /// Hashes rejected because the queue was too long.
    #[schema(example = 0)]
    refused: u64,
    /// Mean waiting time of the hashes that were not rejected, in milliseconds.
    #[schema(example = 0.4)]
    mean_wait_milliseconds: f64,
    /// Longest waiting time, in milliseconds; `hash_queue_timeout` is the limit.
    #[schema(example = 61.2)]
    longest_wait_milliseconds: f64,
}

/// Returns statistics of the service.
#[utoipa::path(
    get, path = "/v1/operator/stats", tag = "operator", operation_id = "stats",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "Statistics of the service.", body = ServiceStats))
)]
pub(in crate::http) async fn stats(State(app): State<App>) -> Result<Json<ServiceStats>, Problem> {
    let hashing = app.passwords().stats();
    Ok(Json(ServiceStats {
        service_type: "stateless",
        session_management: session_stats(app.sessions()).await?,
        data_partitioning: PartitionStats::new(&*app.shards().current()?),
        password_hashing: HashingStats {
            threads: hashing.threads,
            running: hashing.running,
            waiting: hashing.waiting,
            mean_milliseconds: milliseconds(hashing.mean),
            computed: hashing.computed,
            refused: hashing.refused,
            mean_wait_milliseconds: milliseconds(hashing.mean_wait),
            longest_wait_milliseconds: milliseconds(hashing.max_wait),
        },
        admission: AdmissionView::new(app.admission().stats()),
        circuits: app.circuits(),
        batching: app
            .shards()
            .batching()
            .into_iter()
            .map(|(shard, batching)| (shard.to_owned(), BatchingView::new(batching)))
            .collect(),
        session_batching: app.session_batching().map(BatchesView::new),
        timestamp: Timestamp::now(),
    }))
}

async fn session_stats(sessions: &Sessions) -> Result<SessionStats, Problem> {
    let totals = sessions.totals().await?;
    let average = if totals.sessions == 0 { 0.0 } else { totals.bytes as f64 / totals.sessions as f64 };
    Ok(SessionStats {
        total_sessions: totals.sessions,
        session_ttl: sessions.policy().idle.as_secs(),
        average_session_size_bytes: average,
        estimated_total_size_mb: totals.bytes as f64 / (1024.0 * 1024.0),
        accuracy: describe_accuracy(totals.accuracy),
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
