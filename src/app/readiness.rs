//! Readiness of the instance and of its dependencies.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::{breaker::Circuit, clock::SHARED, store_error::StoreError};

/// A dependency that takes longer to answer counts as down.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the dependencies are checked for the log and the metrics.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// The last known state of the dependencies.
#[derive(Debug, Default)]
pub(crate) struct Dependencies {
    seen: watch::Sender<Vec<Dependency>>,
    /// Whether the shared store has ever answered. Until then this instance may be misconfigured.
    shared_reached: AtomicBool,
}

impl Dependencies {
    /// Returns the last known state. Empty before the first check.
    pub(super) fn seen(&self) -> Vec<Dependency> {
        self.seen.borrow().clone()
    }
}

/// Readiness of the instance, and the state of its dependencies.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Readiness {
    /// True if the instance should receive requests.
    pub ready: bool,
    /// True if a dependency is down. The instance stays ready if other instances miss the same dependency.
    pub degraded: bool,
    /// True if the instance is about to leave the fleet.
    pub draining: bool,
    /// Dependencies of the instance.
    pub dependencies: Vec<Dependency>,
}

/// A dependency of the instance.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Dependency {
    /// Name: a shard's id, `shared`, or `catalog`.
    #[schema(example = "shared")]
    pub name: String,
    /// True if the dependency answers.
    pub up: bool,
    /// True if the instance is not ready without it. Embedded storage is required. Redis and the catalog are required until
    /// they have answered once. Shards on PostgreSQL are not required.
    pub required: bool,
}

impl App {
    /// Checks all dependencies.
    pub async fn readiness(&self) -> Readiness {
        let (shared, shards) = futures_util::future::join(self.shared_dependency(), self.shard_dependencies()).await;
        let draining = self.0.draining.is_cancelled();
        let mut dependencies = vec![shared];
        dependencies.extend(self.0.catalog.as_ref().map(|catalog| Dependency {
            name: "catalog".to_owned(),
            up: catalog.answers() && !catalog.is_needed(),
            required: catalog.is_needed(),
        }));
        dependencies.extend(shards);
        self.0.dependencies.seen.send_replace(dependencies.clone());
        Readiness {
            ready: !draining && dependencies.iter().all(|one| one.up || !one.required),
            degraded: dependencies.iter().any(|one| !one.up),
            draining,
            dependencies,
        }
    }

    /// Checks the dependencies regularly, and logs which go down and which come up again.
    pub(crate) async fn watch_dependencies(self, stop: CancellationToken) {
        let mut down: Vec<String> = Vec::new();
        loop {
            let Some(seen) = stop.run_until_cancelled(self.readiness()).await else { return };
            for Dependency { name, up, required } in &seen.dependencies {
                match (down.iter().position(|one| one == name), up) {
                    (None, false) => {
                        tracing::warn!(dependency = name, required, "dependency down; the instance is degraded");
                        down.push(name.clone());
                    }
                    (Some(index), true) => {
                        tracing::info!(dependency = name, "dependency up again");
                        down.remove(index);
                    }
                    _ => {}
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
            }
        }
    }

    pub(super) fn dependencies_seen(&self) -> Vec<Dependency> {
        self.0.dependencies.seen()
    }

    async fn shared_dependency(&self) -> Dependency {
        let is_own = self.settings().redis_url.is_none();
        // Until the store's clock is known, new sessions would get this machine's time.
        let up = is_up(self.0.shared.ping()).await && (is_own || SHARED.is_known());
        let reached = &self.0.dependencies.shared_reached;
        if up {
            reached.store(true, Ordering::Relaxed);
        }
        Dependency { name: "shared".to_owned(), up, required: is_own || !reached.load(Ordering::Relaxed) }
    }

    /// Returns the circuit of each store, by the shard's id or `shared`.
    pub fn circuits(&self) -> BTreeMap<String, Circuit> {
        let shards = self.shards().stores().map(|(name, store)| (name.to_owned(), store.circuit()));
        shards.chain([("shared".to_owned(), self.0.shared.circuit())]).collect()
    }

    async fn shard_dependencies(&self) -> Vec<Dependency> {
        let is_own = self.settings().shards.0.is_empty();
        let checks = self.shards().stores().map(async |(name, store)| Dependency {
            name: name.to_owned(),
            up: is_up(store.ping()).await,
            required: is_own,
        });
        futures_util::future::join_all(checks).await
    }
}

async fn is_up(ping: impl Future<Output = Result<(), StoreError>>) -> bool {
    matches!(tokio::time::timeout(PING_TIMEOUT, ping).await, Ok(Ok(())))
}
