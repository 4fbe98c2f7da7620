//! Sessions while Redis is killed, paused, and failed over, on embedded shards.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use reqwest::Method;

use super::harness::{Reply, Service, until};
use crate::servers::redis::{Redis, RedisCluster, RedisPair, RedisSentinel};

/// An instance with sessions in Redis, and replicas that must have their ends.
async fn instance(redis: &str, replicas: &str) -> Service {
    Service::with(&settings(redis, replicas)).await
}

/// Two instances that share everything.
async fn two_instances(redis: &str) -> (Service, Service) {
    let first = instance(redis, "0").await;
    let second = first.another_with(&settings(redis, "0")).await;
    (first, second)
}

fn settings<'a>(redis: &'a str, replicas: &'a str) -> [(&'static str, &'a str); 3] {
    [
        ("SYMBOLON_REDIS_URL", redis),
        ("SYMBOLON_REDIS_WAIT_REPLICAS", replicas),
        ("SYMBOLON_THROTTLE_ADDRESS", "10000/15m"),
    ]
}

async fn log_out(service: &Service, token: &str) -> Reply {
    service.request(Method::POST, "/v1/logout").bearer(token).send().await
}

async fn logouts_are_refused_at_once_elsewhere(redis: &str) {
    let (first, second) = two_instances(redis).await;
    for user in 0..10 {
        let token = first.member(&format!("user-{user}")).await;
        assert_eq!(second.session_status(&token).await, 200);
        assert_eq!(log_out(&first, &token).await.status, 204);
        assert_eq!(second.session_status(&token).await, 401);
    }
}

#[tokio::test]
async fn on_a_cluster_a_logout_is_refused_at_once_elsewhere() {
    logouts_are_refused_at_once_elsewhere(&RedisCluster::start().url()).await;
}

#[tokio::test]
async fn with_sentinel_a_logout_is_refused_at_once_elsewhere() {
    logouts_are_refused_at_once_elsewhere(&RedisSentinel::start().url()).await;
}

#[tokio::test]
async fn a_paused_redis_gives_a_prompt_503_and_service_comes_back_by_itself() {
    let redis = Redis::start();
    let service = instance(&redis.url(), "0").await;
    let token = service.member("ada").await;
    redis.pause();
    for _ in 0..10 {
        let begun = Instant::now();
        let reply = service.get("/v1/session").bearer(&token).send().await;
        reply.problem(503, "unavailable");
        assert!(!reply.header("retry-after").is_empty());
        assert!(begun.elapsed() < Duration::from_secs(2), "it took {:?}", begun.elapsed());
    }
    let ready = service.get("/v1/health/ready").send().await;
    assert_eq!((ready.status.as_u16(), &ready.json()["degraded"]), (200, &true.into()), "{}", ready.text);
    redis.resume();
    until("the session is known again", async || service.session_status(&token).await == 200).await;
}

#[tokio::test]
async fn a_failover_by_sentinel_is_followed() {
    let mut sentinel = RedisSentinel::start();
    let service = instance(&sentinel.url(), "1").await;
    let token = service.member("ada").await;
    let ended = service.login("ada").await;
    // Replicas have what came before an acknowledged end.
    assert_eq!(log_out(&service, &ended).await.status, 204);
    sentinel.primary.kill();
    let refused = Cell::new(0);
    until("the session is known to the new primary", async || {
        let status = service.session_status(&token).await;
        assert!([200, 503].contains(&status), "{status}");
        refused.set(refused.get() + u32::from(status == 503));
        status == 200
    })
    .await;
    assert!(refused.get() > 0, "the failover took no time at all");
    assert_eq!(service.session_status(&ended).await, 401, "an acknowledged logout came undone");
    service.login("ada").await;
    assert!(sentinel.replica.command(&["info", "replication"]).contains("role:master"));
}

/// A user with a session.
struct Member {
    name: String,
    user_id: String,
    token: String,
}

impl Member {
    /// A key of the user's.
    fn key(&self) -> String {
        format!("symbolon:{{{}}}:user", self.user_id)
    }
}

/// Two users whose sessions are on different primaries.
async fn on_two_primaries(service: &Service, cluster: &RedisCluster) -> [Member; 2] {
    let mut number = 0;
    let mut another = async || {
        number += 1;
        let name = format!("user-{number}");
        Member { user_id: service.register(&name).await, token: service.login(&name).await, name }
    };
    let first = another().await;
    loop {
        let second = another().await;
        if cluster.port_of(&first.key()) != cluster.port_of(&second.key()) {
            return [first, second];
        }
    }
}

#[tokio::test]
async fn a_dead_primary_of_a_cluster_costs_its_own_users_only_until_its_replica_takes_over() {
    let mut cluster = RedisCluster::with_replicas();
    let service = instance(&cluster.url(), "1").await;
    let [struck, other] = on_two_primaries(&service, &cluster).await;
    let ended = service.login(&struck.name).await;
    // Replicas have what came before an acknowledged end.
    assert_eq!(log_out(&service, &ended).await.status, 204);
    cluster.primary_of(&struck.key()).kill();
    let refused = Cell::new(0);
    until("the struck user's session is back", async || {
        assert_eq!(service.session_status(&other.token).await, 200, "another primary's user is struck too");
        let status = service.session_status(&struck.token).await;
        assert!([200, 503].contains(&status), "{status}");
        refused.set(refused.get() + u32::from(status == 503));
        status == 200
    })
    .await;
    assert!(refused.get() > 0, "the failover took no time at all");
    assert_eq!(service.session_status(&ended).await, 401, "an acknowledged logout came undone");
}

#[tokio::test]
async fn a_slot_that_moves_to_another_node_is_followed() {
    let cluster = RedisCluster::start();
    let service = instance(&cluster.url(), "0").await;
    let [moved, other] = on_two_primaries(&service, &cluster).await;
    let slot = cluster.announce_move(&moved.key(), &other.key());
    assert_eq!(service.session_status(&moved.token).await, 200, "before its keys move");
    slot.carry_keys();
    assert_eq!(service.session_status(&moved.token).await, 200, "while the slot has not moved yet");
    slot.finish();
    assert_eq!(service.session_status(&moved.token).await, 200, "after the slot moved");
    assert_eq!(log_out(&service, &moved.token).await.status, 204);
    assert_eq!(service.session_status(&moved.token).await, 401);
}

#[tokio::test]
async fn a_logout_that_no_replica_has_is_not_acknowledged() {
    let pair = RedisPair::start();
    let service = instance(&pair.url(), "1").await;
    let (token, second, third) = (service.member("ada").await, service.login("ada").await, service.login("ada").await);
    assert_eq!(log_out(&service, &token).await.status, 204);
    pair.replica.pause();
    let reply = log_out(&service, &second).await;
    reply.problem(503, "unavailable");
    assert!(!reply.header("retry-after").is_empty());
    assert_eq!(service.session_status(&second).await, 401, "it has ended all the same");
    // What nothing must survive does not wait.
    assert_eq!(service.session_status(&third).await, 200);
    service.login("ada").await;
    pair.replica.resume();
    until("a logout is acknowledged again", async || {
        let token = service.login("ada").await;
        log_out(&service, &token).await.status == 204
    })
    .await;
}

#[tokio::test]
async fn in_a_cluster_the_replica_of_the_users_own_primary_must_have_it() {
    let cluster = RedisCluster::with_replicas();
    let service = instance(&cluster.url(), "1").await;
    let [waiting, other] = on_two_primaries(&service, &cluster).await;
    cluster.replica_of(&waiting.key()).pause();
    log_out(&service, &waiting.token).await.problem(503, "unavailable");
    assert_eq!(log_out(&service, &other.token).await.status, 204);
}

#[tokio::test]
async fn scripts_that_a_server_forgot_are_sent_again_with_the_wait_for_replicas() {
    let pair = RedisPair::start();
    let service = instance(&pair.url(), "1").await;
    let token = service.member("ada").await;
    pair.primary.command(&["script", "flush"]);
    assert_eq!(log_out(&service, &token).await.status, 204);
    assert_eq!(service.session_status(&token).await, 401);
}

#[tokio::test]
async fn a_dead_redis_is_logged_once_and_then_counted() {
    const REQUESTS: u64 = 200;
    let mut redis = Redis::start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("log");
    let url = redis.url();
    let settings = [settings(&url, "0").as_slice(), &[("SYMBOLON_LOG_FORMAT", "json")]].concat();
    let mut service = Service::logging_to(&log, &settings).await;
    let token = service.member("ada").await;
    redis.kill();
    let mut failed = 0;
    while failed < REQUESTS {
        failed += u64::from(service.get("/v1/session").bearer(&token).send().await.status == 503);
    }
    assert!(service.terminate().await);
    let logged = std::fs::read_to_string(&log).expect("a log");
    let lines: Vec<serde_json::Value> = logged
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &serde_json::Value| line["kind"] == "unavailable")
        .collect();
    assert_eq!(lines[0]["message"], "a request failed");
    assert!((2..=5).contains(&lines.len()), "{} lines", lines.len());
    let count = |line: &serde_json::Value| line["count"].as_u64().unwrap_or(1);
    assert_eq!(lines.iter().map(count).sum::<u64>(), REQUESTS);
}
