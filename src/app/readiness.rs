//! Whether this instance can serve.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::App;
use crate::{breaker::Circuit, store_error::StoreError};

/// A dependency that takes longer to answer is down.
const DEADLINE: Duration = Duration::from_secs(1);

/// Whether the instance should get requests, and why not.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Readiness {
    /// Whether it should.
    pub ready: bool,
    /// Whether it is about to leave.
    pub draining: bool,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
}

/// Something the instance depends on.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Dependency {
    /// Its name: a shard's id, `shared`, or `catalog`.
    #[schema(example = "shared")]
    pub name: String,
    /// Whether it answers.
    pub up: bool,
    /// Whether nothing works without it. A shard that is down costs its own users only, and the catalog is needed until it
    /// has told the topology once.
    pub required: bool,
}

impl App {
    /// Asks everything that the instance depends on.
    pub async fn readiness(&self) -> Readiness {
        let shared = async { is_up(self.0.shared.ping()).await };
        let (shared, shards) = futures_util::future::join(shared, self.shard_dependencies()).await;
        let draining = self.0.draining.is_cancelled();
        let placed = self.shards().current().is_ok();
        let some_shard_up = shards.iter().any(|shard| shard.up);
        let mut dependencies = vec![Dependency { name: "shared".to_owned(), up: shared, required: true }];
        dependencies.extend(self.0.catalog.as_ref().map(|catalog| Dependency {
            name: "catalog".to_owned(),
            up: catalog.answers() && !catalog.is_needed(),
            required: catalog.is_needed(),
        }));
        dependencies.extend(shards);
        Readiness { ready: shared && placed && some_shard_up && !draining, draining, dependencies }
    }

    /// Whether requests to each store pass, by the shard's id or `shared`.
    pub fn circuits(&self) -> BTreeMap<String, Circuit> {
        let shards = self.shards().stores().map(|(name, store)| (name.to_owned(), store.circuit()));
        shards.chain([("shared".to_owned(), self.0.shared.circuit())]).collect()
    }

    async fn shard_dependencies(&self) -> Vec<Dependency> {
        let checks = self.shards().stores().map(async |(name, store)| Dependency {
            name: name.to_owned(),
            up: is_up(store.ping()).await,
            required: false,
        });
        futures_util::future::join_all(checks).await
    }
}

async fn is_up(ping: impl Future<Output = Result<(), StoreError>>) -> bool {
    matches!(tokio::time::timeout(DEADLINE, ping).await, Ok(Ok(())))
}
