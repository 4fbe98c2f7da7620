//! Faults of Redis: crashes, pauses, failovers and missing replicas.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    LogFile, Service,
    servers::redis::{Redis, RedisCluster, RedisPair, RedisSentinel},
    until,
};

/// How soon a 503 must come on a busy machine.
const PROMPT: Duration = Duration::from_secs(2);

/// An instance with sessions in Redis that waits for so many replicas when it ends one.
async fn instance(redis: &str, replicas: &str) -> Service {
    Service::with(&settings(redis, replicas)).await
}

/// Two instances with the same data.
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

async fn assert_logouts_hold_at_once(redis: &str) {
    let (first, second) = two_instances(redis).await;
    for user in 0..10 {
        let token = first.register_and_login(&format!("user-{user}")).await;
        assert_eq!(second.session_status(&token).await, 200);
        assert_eq!(first.log_out(&token).await.status, 204);
        assert_eq!(second.session_status(&token).await, 401);
    }
}

#[tokio::test]
async fn a_logout_on_a_cluster_holds_on_every_instance_at_once() {
    assert_logouts_hold_at_once(&RedisCluster::start().url()).await;
}

#[tokio::test]
async fn a_logout_with_sentinel_holds_on_every_instance_at_once() {
    assert_logouts_hold_at_once(&RedisSentinel::start().url()).await;
}

#[tokio::test]
async fn a_paused_redis_gives_a_prompt_503_until_it_resumes() {
    let redis = Redis::start();
    let service = instance(&redis.url(), "0").await;
    let token = service.register_and_login("ada").await;
    redis.pause();
    for _ in 0..10 {
        let begun = Instant::now();
        let reply = service.get("/v1/session").bearer(&token).send().await;
        reply.problem(503, "unavailable");
        assert!(reply.retry_after() >= 1);
        assert!(begun.elapsed() < PROMPT, "it took {:?}", begun.elapsed());
    }
    let ready = service.get("/v1/health/ready").send().await;
    assert_eq!((ready.status.as_u16(), &ready.json()["degraded"]), (200, &true.into()), "{}", ready.text);
    redis.resume();
    until("the session is known again", async || service.session_status(&token).await == 200).await;
}

#[tokio::test]
async fn service_continues_after_a_sentinel_failover() {
    let mut sentinel = RedisSentinel::start();
    let service = instance(&sentinel.url(), "1").await;
    let token = service.register_and_login("ada").await;
    let ended = service.login("ada").await;
    // An acknowledged logout has reached a replica, and all writes before it.
    assert_eq!(service.log_out(&ended).await.status, 204);
    sentinel.primary.kill();
    let refused = Cell::new(0);
    until("the session is known to the new primary", async || {
        let status = service.session_status(&token).await;
        assert!([200, 503].contains(&status), "{status}");
        refused.set(refused.get() + u32::from(status == 503));
        status == 200
    })
    .await;
    assert!(refused.get() > 0, "no request was refused during the failover");
    assert_eq!(service.session_status(&ended).await, 401, "an acknowledged logout was undone");
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
    /// A Redis key of the user.
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
async fn a_dead_cluster_primary_affects_only_its_own_users_until_failover() {
    let mut cluster = RedisCluster::with_replicas();
    let service = instance(&cluster.url(), "1").await;
    let [affected, other] = on_two_primaries(&service, &cluster).await;
    let ended = service.login(&affected.name).await;
    // An acknowledged logout has reached a replica, and all writes before it.
    assert_eq!(service.log_out(&ended).await.status, 204);
    cluster.primary_of(&affected.key()).kill();
    let refused = Cell::new(0);
    until("the affected user's session is back", async || {
        assert_eq!(service.session_status(&other.token).await, 200, "a user of another primary is affected");
        let status = service.session_status(&affected.token).await;
        assert!([200, 503].contains(&status), "{status}");
        refused.set(refused.get() + u32::from(status == 503));
        status == 200
    })
    .await;
    assert!(refused.get() > 0, "no request was refused during the failover");
    assert_eq!(service.session_status(&ended).await, 401, "an acknowledged logout was undone");
}

#[tokio::test]
async fn sessions_are_read_while_their_slot_moves() {
    let cluster = RedisCluster::start();
    let service = instance(&cluster.url(), "0").await;
    let [moved, other] = on_two_primaries(&service, &cluster).await;
    let slot = cluster.begin_move(&moved.key(), &other.key());
    assert_eq!(service.session_status(&moved.token).await, 200, "before its keys move");
    slot.move_keys();
    assert_eq!(service.session_status(&moved.token).await, 200, "while the slot has not moved yet");
    slot.finish();
    assert_eq!(service.session_status(&moved.token).await, 200, "after the slot moved");
    assert_eq!(service.log_out(&moved.token).await.status, 204);
    assert_eq!(service.session_status(&moved.token).await, 401);
}

#[tokio::test]
async fn a_logout_without_a_replica_is_not_acknowledged() {
    let pair = RedisPair::start();
    let service = instance(&pair.url(), "1").await;
    let (token, second, third) =
        (service.register_and_login("ada").await, service.login("ada").await, service.login("ada").await);
    assert_eq!(service.log_out(&token).await.status, 204);
    pair.replica.pause();
    let reply = service.log_out(&second).await;
    reply.problem(503, "unavailable");
    assert!(reply.retry_after() >= 1);
    assert_eq!(service.session_status(&second).await, 401, "the session was not ended");
    // Reads and logins do not wait for replicas.
    assert_eq!(service.session_status(&third).await, 200);
    service.login("ada").await;
    pair.replica.resume();
    until("a logout is acknowledged again", async || {
        let token = service.login("ada").await;
        service.log_out(&token).await.status == 204
    })
    .await;
}

#[tokio::test]
async fn in_a_cluster_a_logout_needs_a_replica_of_the_users_primary() {
    let cluster = RedisCluster::with_replicas();
    let service = instance(&cluster.url(), "1").await;
    let [waiting, other] = on_two_primaries(&service, &cluster).await;
    cluster.replica_of(&waiting.key()).pause();
    service.log_out(&waiting.token).await.problem(503, "unavailable");
    assert_eq!(service.log_out(&other.token).await.status, 204);
}

#[tokio::test]
async fn flushed_scripts_are_loaded_again_with_the_wait_for_replicas() {
    let pair = RedisPair::start();
    let service = instance(&pair.url(), "1").await;
    let token = service.register_and_login("ada").await;
    pair.primary.command(&["script", "flush"]);
    assert_eq!(service.log_out(&token).await.status, 204);
    assert_eq!(service.session_status(&token).await, 401);
}

#[tokio::test]
async fn failures_of_a_dead_redis_are_logged_once_and_then_counted() {
    const REQUESTS: u64 = 200;
    let mut redis = Redis::start();
    let log = LogFile::new();
    let url = redis.url();
    let settings = [settings(&url, "0").as_slice(), &[("SYMBOLON_LOG_FORMAT", "json")]].concat();
    let mut service = Service::logging_to(&log, &settings).await;
    let token = service.register_and_login("ada").await;
    redis.kill();
    let failed = Cell::new(0);
    until("enough requests have failed", async || {
        failed.set(failed.get() + u64::from(service.session_status(&token).await == 503));
        failed.get() == REQUESTS
    })
    .await;
    assert!(service.terminate().await);
    let lines: Vec<Value> = log.json_lines().into_iter().filter(|line| line["kind"] == "unavailable").collect();
    assert_eq!(lines[0]["message"], "request failed");
    assert!((2..=5).contains(&lines.len()), "{} lines", lines.len());
    let count = |line: &Value| line["count"].as_u64().unwrap_or(1);
    assert_eq!(lines.iter().map(count).sum::<u64>(), REQUESTS);
}
