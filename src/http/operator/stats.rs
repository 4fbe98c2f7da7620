//! The seed's service statistics.

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

/// How the service does.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ServiceStats {
    /// Always `stateless`.
    #[schema(example = "stateless")]
    service_type: &'static str,
    /// The sessions of the whole fleet.
    session_management: SessionStats,
    /// How keys are placed.
    data_partitioning: PartitionStats,
    /// How busy this instance is with hashing passwords.
    password_hashing: HashingStats,
    /// Which requests this instance took on, and which it refused.
    admission: AdmissionView,
    /// Whether requests of this instance to each store pass, by the shard's id or `shared`.
    #[schema(example = json!({"db-node-0": "closed", "db-node-1": "closed", "db-node-2": "open", "shared": "closed"}))]
    circuits: BTreeMap<String, Circuit>,
    /// How this instance joined its lookups into batches, by the shard's id; nothing of shards whose lookups are not joined.
    batching: BTreeMap<String, BatchingView>,
    /// How this instance joined its reads of sessions into batches; none where each is read on its own.
    session_batching: Option<BatchesView>,
    /// When this was put together.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    timestamp: Timestamp,
}

/// Session statistics. They cost the same at any number of sessions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SessionStats {
    /// How many sessions the store holds.
    #[schema(example = 1200)]
    total_sessions: u64,
    /// How long a session lives without use, in seconds.
    #[schema(example = 3600)]
    session_ttl: u64,
    /// What one takes in the store, on average.
    #[schema(example = 236.0)]
    average_session_size_bytes: f64,
    /// What all take, in MiB.
    #[schema(example = 0.27)]
    estimated_total_size_mb: f64,
    /// How exact the numbers are.
    accuracy: &'static str,
}

/// In words what each accuracy means.
fn explain(accuracy: Accuracy) -> &'static str {
    match accuracy {
        Accuracy::UpperBound => {
            "upper bound: counts what the store holds; sessions that ended by expiry, or by ending all sessions of a user, \
             are counted until they are removed, which takes up to a minute after their expiry; sizes leave out indexes \
             and preferences"
        }
        Accuracy::Estimate => {
            "estimate: from a sample of 200 keys on each Redis server; with a share p of session keys the standard error is \
             about sqrt((1 - p) / (200 p)) of the number"
        }
    }
}

/// How busy an instance is with hashing passwords.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct HashingStats {
    /// How many hashes it computes at a time.
    #[schema(example = 2)]
    threads: usize,
    /// How many are being computed.
    #[schema(example = 1)]
    running: usize,
    /// How many wait.
    #[schema(example = 0)]
    waiting: usize,
    /// A running mean of how long one takes, in milliseconds.
    #[schema(example = 21.4)]
    mean_milliseconds: f64,
    /// How many passwords were checked or newly hashed since the start.
    #[schema(example = 48211)]
    computed: u64,
    /// How many were refused since the start, because too many others waited.
    #[schema(example = 0)]
    refused: u64,
    /// How long those that were not refused waited, on average since the start, in milliseconds.
    #[schema(example = 0.4)]
    mean_wait_milliseconds: f64,
    /// The longest that one waited since the start, in milliseconds; `hash_queue_timeout` is the limit.
    #[schema(example = 61.2)]
    longest_wait_milliseconds: f64,
}

/// Shows the service's statistics.
#[utoipa::path(
    get, path = "/v1/operator/stats", tag = "operator", operation_id = "stats",
    security(("operator_token" = []), ("session" = [])),
    responses((status = 200, description = "The statistics.", body = ServiceStats))
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
        accuracy: explain(totals.accuracy),
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
