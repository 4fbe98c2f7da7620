//! Three instances that know each other, on embedded storage or on Redis.

use serde_json::Value;
use symbolon::shared_store::{SharedStore, sqlite::SqliteSharedStore};

use super::{Service, servers::redis::Redis, stores::default_redis_store, until};

/// The instances `a`, `b` and `c`.
pub struct Trio {
    pub instances: Vec<Service>,
    pub redis: Option<Redis>,
}

impl Trio {
    pub async fn start(redis: Option<Redis>) -> Self {
        let url = redis.as_ref().map(Redis::url).unwrap_or_default();
        let first = Service::with(&settings("a", &url)).await;
        let (second, third) =
            (first.another_with(&settings("b", &url)).await, first.another_with(&settings("c", &url)).await);
        let trio = Self { instances: vec![first, second, third], redis };
        until("each instance shows all three, and a leader", async || {
            let mut shown = Vec::new();
            for instance in &trio.instances {
                let stats = balancer(instance).await;
                shown.push(stats["total_nodes"] == 3 && stats["leader"].is_string());
            }
            shown.iter().all(|shown| *shown)
        })
        .await;
        trio
    }

    /// A connection to the store that they share.
    pub async fn store(&self) -> Box<dyn SharedStore> {
        let Some(redis) = &self.redis else {
            let path = self.instances[0].data().join("shared.sqlite");
            return Box::new(SqliteSharedStore::open(&path).await.expect("a store"));
        };
        Box::new(default_redis_store(redis).await)
    }

    pub fn index_of(id: &str) -> usize {
        ["a", "b", "c"].iter().position(|known| *known == id).expect("one of the three")
    }
}

/// The settings of an instance, on embedded storage if `redis` is empty.
pub fn settings<'a>(id: &'a str, redis: &'a str) -> [(&'static str, &'a str); 3] {
    [
        ("SYMBOLON_INSTANCE_ID", id),
        ("SYMBOLON_REDIS_URL", redis),
        // Long enough for others to notice that it drains.
        ("SYMBOLON_DRAIN_DELAY", "5s"),
    ]
}

/// The balancer as an instance shows it to operators.
pub async fn balancer(service: &Service) -> Value {
    service.operator_view("/balancer").await
}

/// A node in that view; null if it is not there.
pub fn node(stats: &Value, id: &str) -> Value {
    let nodes = stats["nodes"].as_array().expect("nodes");
    nodes.iter().find(|node| node["id"] == id).cloned().unwrap_or_default()
}

/// Makes a test of each function on embedded storage, and one on Redis.
macro_rules! on_both_stores {
    ($($name:ident)*) => {
        mod embedded {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::support::trio::Trio::start(None).await).await;
            })*
        }

        mod redis {
            $(#[tokio::test]
            async fn $name() {
                let redis = crate::support::servers::redis::Redis::start();
                super::$name(crate::support::trio::Trio::start(Some(redis)).await).await;
            })*
        }
    };
}

pub(crate) use on_both_stores;
