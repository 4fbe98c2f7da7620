//! Whether this instance can serve.

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

/// A dependency that takes longer to answer is down.
const DEADLINE: Duration = Duration::from_secs(1);

/// How often the dependencies are asked for the log and the metrics.
const WATCH_EVERY: Duration = Duration::from_secs(5);

/// What was last seen of the dependencies.
#[derive(Debug, Default)]
pub(crate) struct Dependencies {
    seen: watch::Sender<Vec<Dependency>>,
    /// Whether the shared store has ever answered. Until then its settings may be this instance's fault.
    shared_reached: AtomicBool,
}

impl Dependencies {
    /// What was seen last; empty before anything was.
    pub(super) fn seen(&self) -> Vec<Dependency> {
        self.seen.borrow().clone()
    }
}

/// Whether the instance should get requests, and why not.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Readiness {
    /// Whether it should.
    pub ready: bool,
    /// Whether something that it depends on is down. What other instances share and miss as well leaves the instance ready.
    pub degraded: bool,
    /// Whether it is about to leave.
    pub draining: bool,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
}

/// Something the instance depends on.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Dependency {
    /// Its name: a shard's id, `shared`, or `catalog`.
    #[schema(example = "shared")]
    pub name: String,
    /// Whether it answers.
    pub up: bool,
    /// Whether the instance is not ready without it: embedded storage, which is its own, and what other instances share
    /// until it has answered this one once. A shard that others share is never required.
    pub required: bool,
}

impl App {
    /// Asks everything that the instance depends on.
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

    /// Asks the dependencies every now and then, and says in the log which are down and which are back.
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
                    (Some(place), true) => {
                        tracing::info!(dependency = name, "dependency up again");
                        down.remove(place);
                    }
                    _ => {}
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(WATCH_EVERY) => {}
            }
        }
    }

    /// What was last seen of the dependencies.
    pub(super) fn dependencies_seen(&self) -> Vec<Dependency> {
        self.0.dependencies.seen()
    }

    async fn shared_dependency(&self) -> Dependency {
        let is_own = self.settings().redis_url.is_none();
        // Sessions made before the store's clock was read would have the times of this machine's.
        let up = is_up(self.0.shared.ping()).await && (is_own || SHARED.is_known());
        let reached = &self.0.dependencies.shared_reached;
        if up {
            reached.store(true, Ordering::Relaxed);
        }
        Dependency { name: "shared".to_owned(), up, required: is_own || !reached.load(Ordering::Relaxed) }
    }

    /// Whether requests to each store pass, by the shard's id or `shared`.
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
    matches!(tokio::time::timeout(DEADLINE, ping).await, Ok(Ok(())))
}
