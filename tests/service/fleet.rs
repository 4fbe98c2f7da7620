//! Three instances that know each other, on embedded storage and on Redis.

use reqwest::Method;
use serde_json::{Value, json};
use symbolon::{
    clock::Timestamp,
    fleet::{
        instance_of,
        leader::{LEASE, LOCK},
    },
    shared_store::{SharedStore, redis::RedisSharedStore, sqlite::SqliteSharedStore},
};

use super::{
    harness::{Reply, Request, Service, until},
    real_stores::TOKEN,
};
use crate::servers::{
    DEADLINE,
    redis::{BATCHES, Redis},
};

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

    /// The shared store itself.
    async fn store(&self) -> Box<dyn SharedStore> {
        let Some(redis) = &self.redis else {
            let path = self.instances[0].data().join("shared.sqlite");
            return Box::new(SqliteSharedStore::open(&path).await.expect("a store"));
        };
        let store = RedisSharedStore::connect(&redis.url(), None, 0, BATCHES).expect("a URL");
        assert!(store.answers_within(DEADLINE).await, "Redis answers");
        Box::new(store)
    }

    pub fn index_of(id: &str) -> usize {
        ["a", "b", "c"].iter().position(|known| *known == id).expect("one of the three")
    }
}

fn settings<'a>(id: &'a str, redis: &'a str) -> [(&'static str, &'a str); 4] {
    [
        ("SYMBOLON_INSTANCE_ID", id),
        ("SYMBOLON_REDIS_URL", redis),
        ("SYMBOLON_OPERATOR_TOKEN", TOKEN),
        // Long enough to be seen.
        ("SYMBOLON_DRAIN_DELAY", "5s"),
    ]
}

pub fn control(service: &Service, method: Method, path: &str) -> Request {
    service.request(method, &format!("/v1/operator/balancer{path}")).bearer(TOKEN)
}

async fn try_balancer(service: &Service) -> Reply {
    control(service, Method::GET, "").send().await
}

pub async fn balancer(service: &Service) -> Value {
    let reply = try_balancer(service).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()
}

/// What is shown of a node; null if nothing is.
pub fn node(stats: &Value, id: &str) -> Value {
    let nodes = stats["nodes"].as_array().expect("nodes");
    nodes.iter().find(|node| node["id"] == id).cloned().unwrap_or_default()
}

/// Runs each function with a trio on each kind of store.
macro_rules! on_both_stores {
    ($($name:ident)*) => {
        mod embedded {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::service::fleet::Trio::start(None).await).await;
            })*
        }

        mod redis {
            $(#[tokio::test]
            async fn $name() {
                let redis = crate::servers::redis::Redis::start();
                super::$name(crate::service::fleet::Trio::start(Some(redis)).await).await;
            })*
        }
    };
}
pub(super) use on_both_stores;

on_both_stores! {
    every_instance_shows_all_three
    one_leads_and_a_killed_one_is_replaced_under_a_higher_fence
    one_that_drains_is_shown_so_and_gives_up_the_lead_and_then_is_gone
}

async fn every_instance_shows_all_three(trio: Trio) {
    for instance in &trio.instances {
        let stats = balancer(instance).await;
        assert_eq!((&stats["total_nodes"], &stats["healthy_nodes"]), (&json!(3), &json!(3)));
        assert_eq!((&stats["stale"], &stats["algorithm"]), (&json!(false), &json!(null)));
        assert!(stats["as_of"].is_string());
        for (other, id) in trio.instances.iter().zip(["a", "b", "c"]) {
            let shown = node(&stats, id);
            assert_eq!(shown["url"], other.url);
            assert_eq!((&shown["added"], &shown["removed"]), (&json!(false), &json!(false)));
            assert!(shown["version"].is_string() && shown["last_health_check"].is_string());
        }
    }
}

async fn one_leads_and_a_killed_one_is_replaced_under_a_higher_fence(mut trio: Trio) {
    let store = trio.store().await;
    let held = async || {
        let held = store.holder(LOCK).await.expect("an answer");
        held.map(|(holder, fence)| (instance_of(&holder).to_owned(), fence))
    };
    let (leader, fence) = held().await.expect("a leader");
    let since = Timestamp::now();
    until("more than a lease has passed", async || {
        for instance in &trio.instances {
            assert_eq!(balancer(instance).await["leader"], leader, "the lead stays where it is");
        }
        Timestamp::now().since(since) > LEASE
    })
    .await;
    assert_eq!(held().await, Some((leader.clone(), fence)));
    trio.instances.remove(Trio::index_of(&leader)).kill().await;
    let lost_at = Timestamp::now();
    until("another one leads", async || held().await.is_some_and(|(holder, _)| holder != leader)).await;
    println!("another one led after {:?}", Timestamp::now().since(lost_at));
    let (next, later) = held().await.expect("a leader");
    assert!(later > fence, "{later} follows {fence}");
    for instance in &trio.instances {
        assert_eq!(balancer(instance).await["leader"], next);
    }
}

async fn one_that_drains_is_shown_so_and_gives_up_the_lead_and_then_is_gone(mut trio: Trio) {
    let leader = balancer(&trio.instances[0]).await["leader"].as_str().expect("a leader").to_owned();
    let mut leaving = trio.instances.remove(Trio::index_of(&leader));
    leaving.ask_to_stop().await;
    until("others show it draining, and another leader", async || {
        let stats = balancer(&trio.instances[0]).await;
        let shown = node(&stats, &leader);
        shown["draining"] == true
            && shown["is_healthy"] == false
            && stats["leader"] != leader
            && stats["leader"] != json!(null)
    })
    .await;
    assert!(leaving.has_ended().await, "it ends well");
    let stats = balancer(&trio.instances[0]).await;
    assert_eq!((&stats["total_nodes"], node(&stats, &leader)), (&json!(2), json!(null)));
}

#[tokio::test]
async fn while_the_registry_is_lost_the_last_known_fleet_stays() {
    let mut trio = Trio::start(Some(Redis::start())).await;
    let stop = |redis: &mut Option<Redis>| redis.as_mut().expect("Redis").kill();
    let choice = json!({"algorithm": "least_connections"});
    assert_eq!(control(&trio.instances[0], Method::PUT, "/algorithm").json(&choice).send().await.status, 204);
    until("all know of the choice", async || {
        // Once asked, an instance knows without asking.
        balancer(&trio.instances[1]).await["algorithm"] == "least_connections"
    })
    .await;
    stop(&mut trio.redis);
    for _ in 0..20 {
        let stats = balancer(&trio.instances[1]).await;
        assert_eq!((&stats["stale"], &stats["total_nodes"], &stats["leader"]), (&json!(true), &json!(3), &json!(null)));
        assert_eq!(stats["algorithm"], "least_connections");
        assert!(stats["as_of"].is_string() && node(&stats, "a")["is_healthy"] == true);
        let refused = control(&trio.instances[1], Method::DELETE, "/nodes/a").send().await;
        refused.problem(503, "unavailable");
    }
    trio.redis.as_mut().expect("Redis").start_again();
    until("the fleet is known again", async || {
        let stats = balancer(&trio.instances[1]).await;
        stats["stale"] == false && stats["total_nodes"] == 3 && stats["leader"].is_string()
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_never_knew_the_fleet_shows_itself() {
    let nowhere = format!("redis://127.0.0.1:{}", crate::servers::free_port());
    let instance = Service::with(&settings("a", &nowhere)).await;
    let stats = balancer(&instance).await;
    assert_eq!((&stats["stale"], &stats["as_of"], &stats["total_nodes"]), (&json!(true), &json!(null), &json!(1)));
    assert_eq!(node(&stats, "a")["url"], instance.url);
}

#[tokio::test]
async fn of_two_processes_with_one_instance_id_one_leads_and_both_say_what_is_wrong() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let redis = Redis::start();
    let url = redis.url();
    let logs = ["first", "second"].map(|name| directory.path().join(name));
    let settings = settings("twin", &url);
    let twins = [Service::logging_to(&logs[0], &settings).await, Service::logging_to(&logs[1], &settings).await];
    let said = |log: &std::path::PathBuf| {
        std::fs::read_to_string(log).expect("a log").contains("another process has the same")
    };
    until("both have noticed", async || logs.iter().all(said)).await;
    let since = Timestamp::now();
    until("more than a lease has passed", async || {
        let mut leaders = 0;
        for twin in &twins {
            let metrics = twin.get("/metrics").bearer(TOKEN).send().await.text;
            leaders += usize::from(metrics.lines().any(|line| line == "symbolon_leader 1.0"));
        }
        assert!(leaders < 2, "both lead");
        leaders == 1 && Timestamp::now().since(since) > LEASE
    })
    .await;
}
