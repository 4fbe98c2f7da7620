//! Publication of a user's row to its sessions: a read of the row repeats one that failed.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    OPERATOR_TOKEN, Service, on_every_shard,
    servers::redis::{Redis, RedisPair},
};

/// A change that was not published.
const CHANGE: &str =
    r#"UPDATE users SET preferences = '{"theme":"dark"}', version = version + 1 WHERE login_name = 'ada'"#;

async fn shown(service: &Service, token: &str) -> Value {
    let reply = service.get("/v1/session").bearer(token).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["preferences"].clone()
}

#[tokio::test]
async fn reading_a_row_publishes_it_to_sessions() {
    let service = Service::start().await;
    let user_id = service.register("ada").await;
    let admin_id = service.register("eve").await;
    service.set_permissions(&admin_id, &["read", "admin"]).await;
    let (token, admin) = (service.login("ada").await, service.login("eve").await);
    let by_id = format!("/v1/users/{user_id}");
    for (path, reader) in [
        ("/v1/users/me", token.as_str()),
        ("/v1/users/me/preferences", &token),
        ("/v1/users/me/export", &token),
        ("/v1/operator/users?login_name=ada", OPERATOR_TOKEN),
        (&by_id, &admin),
    ] {
        let reset = service.patch("/v1/users/me/preferences", json!({"theme": "light"})).bearer(&token).send().await;
        assert_eq!(reset.status, 200, "{}", reset.text);
        assert_eq!(on_every_shard(&service, CHANGE).await, 1);
        assert_eq!(shown(&service, &token).await, json!({"theme": "light"}), "before {path}");
        assert_eq!(service.get(path).bearer(reader).send().await.status, 200);
        assert_eq!(shown(&service, &token).await, json!({"theme": "dark"}), "after {path}");
    }
}

#[tokio::test]
async fn a_read_succeeds_even_if_publishing_fails() {
    let pair = RedisPair::start();
    let redis = pair.url();
    let service = Service::with(&[("SYMBOLON_REDIS_URL", &redis), ("SYMBOLON_REDIS_WAIT_REPLICAS", "1")]).await;
    let token = service.register_and_login("ada").await;
    pair.replica.pause();
    for path in ["/v1/users/me", "/v1/users/me/preferences", "/v1/users/me/export"] {
        assert_eq!(on_every_shard(&service, CHANGE).await, 1);
        assert_eq!(service.get(path).bearer(&token).send().await.status, 200, "{path}");
    }
    let lookup = service.operator(Method::GET, "/users?login_name=ada").send().await;
    assert_eq!(lookup.status, 200, "{}", lookup.text);
}

/// How often scripts have read a key: to replace a snapshot, or to list sessions. Sessions in use are read by `MGET`.
fn script_reads(redis: &Redis) -> u32 {
    let stats = redis.command(&["info", "commandstats"]);
    let Some(gets) = stats.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls=")) else { return 0 };
    gets.split(',').next().and_then(|calls| calls.parse().ok()).expect("a count")
}

#[tokio::test]
async fn reading_an_unchanged_row_publishes_nothing() {
    let redis = Redis::start();
    let service = Service::with(&[("SYMBOLON_REDIS_URL", &redis.url())]).await;
    let token = service.register_and_login("ada").await;
    assert!(script_reads(&redis) > 0, "a login reads none");
    // An export lists the sessions, which reads the generation and one session.
    for (path, reads) in [("/v1/users/me", 0), ("/v1/users/me/preferences", 0), ("/v1/users/me/export", 2)] {
        redis.command(&["config", "resetstat"]);
        assert_eq!(service.get(path).bearer(&token).send().await.status, 200, "{path}");
        assert_eq!(script_reads(&redis), reads, "{path}");
    }
}

#[tokio::test]
async fn reading_other_users_creates_no_key_and_waits_for_no_replica() {
    let pair = RedisPair::start();
    let service = Service::with(&[("SYMBOLON_REDIS_URL", &pair.url()), ("SYMBOLON_REDIS_WAIT_REPLICAS", "1")]).await;
    let admin_id = service.register("eve").await;
    service.set_permissions(&admin_id, &["read", "admin"]).await;
    let admin = service.login("eve").await;
    let absent = service.register("ada").await;
    let present = service.register("bob").await;
    service.login("bob").await;
    pair.primary.command(&["config", "resetstat"]);
    for user_id in [&absent, &present] {
        for path in ["", "/preferences", "/export"].map(|path| format!("/v1/users/{user_id}{path}")) {
            assert_eq!(service.get(&path).bearer(&admin).send().await.status, 200, "{path}");
        }
    }
    assert_eq!(service.operator(Method::GET, "/users?login_name=ada").send().await.status, 200);
    let keys = pair.primary.command(&["keys", &format!("*{absent}*:user")]);
    let stats = pair.primary.command(&["info", "commandstats"]);
    assert!(keys.is_empty(), "{keys}");
    assert!(!stats.contains("cmdstat_wait:"), "{stats}");
}

#[tokio::test]
async fn a_failed_publication_is_not_retried_at_every_read() {
    let redis = Redis::start();
    let service = Service::with(&[("SYMBOLON_REDIS_URL", &redis.url())]).await;
    let token = service.register_and_login("ada").await;
    // Larger than a full Redis accepts.
    let grown = "UPDATE users SET preferences = json_object('notes', hex(zeroblob(5000))), version = version + 1";
    assert_eq!(on_every_shard(&service, grown).await, 1);
    redis.fill();
    redis.command(&["config", "resetstat"]);
    for _ in 0..10 {
        assert_eq!(service.get("/v1/users/me").bearer(&token).send().await.status, 200);
    }
    assert_eq!(script_reads(&redis), 1);
}
