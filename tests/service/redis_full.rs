//! A Redis whose memory is full, under `noeviction`: new sessions are refused, and all sessions can be ended.

use serde_json::{Value, json};

use crate::support::{
    NEW_PASSWORD, PASSWORD, Service,
    servers::redis::{Redis, RedisCluster, RedisPair},
};

/// An instance with sessions in Redis.
async fn instance(redis: &str, replicas: &str) -> Service {
    Service::with(&[("SYMBOLON_REDIS_URL", redis), ("SYMBOLON_REDIS_WAIT_REPLICAS", replicas)]).await
}

/// Asserts that with a full Redis sessions cannot be made, and can be ended in every way.
async fn assert_sessions_can_be_ended(service: &Service, fill: impl FnOnce(), empty: impl FnOnce()) {
    let user_id = service.register("ada").await;
    let (asking, first, other) = (service.login("ada").await, service.login("ada").await, service.login("ada").await);
    let leaving = service.register_and_login("bob").await;
    fill();

    service.try_login("ada", PASSWORD).await.problem(503, "unavailable");
    assert_eq!(service.session_status(&first).await, 200, "a session was refused");
    assert_eq!(service.log_out(&first).await.status, 204);
    assert_eq!(service.session_status(&first).await, 401);

    let change = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    let reply = service.put("/v1/users/me/password", change).bearer(&asking).send().await;
    assert_eq!(reply.status, 204, "{}", reply.text);
    assert_eq!((service.session_status(&other).await, service.session_status(&asking).await), (401, 200));
    service.try_login("ada", NEW_PASSWORD).await.problem(503, "unavailable");

    let reply = service.set_permissions(&user_id, &["read"]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let session = service.get("/v1/session").bearer(&asking).send().await.json();
    assert_eq!(session["permissions"], json!(["read"]), "{session}");
    let reply = service.set_permissions(&user_id, &["read", "write"]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);

    let small = service.patch("/v1/users/me/preferences", json!({"theme": "dark"})).bearer(&asking).send().await;
    assert_eq!(small.status, 200, "{}", small.text);
    let large: Value = json!({"notes": "x".repeat(10_000)});
    service.patch("/v1/users/me/preferences", large).bearer(&asking).send().await.problem(503, "unavailable");

    assert_eq!(service.delete("/v1/users/me").bearer(&leaving).send().await.status, 204);
    assert_eq!(service.session_status(&leaving).await, 401);
    assert_eq!(service.delete("/v1/sessions").bearer(&asking).send().await.status, 204);
    assert_eq!(service.session_status(&asking).await, 401);

    empty();
    assert_eq!(service.try_login("ada", NEW_PASSWORD).await.status, 200);
    assert_eq!(service.try_login("bob", PASSWORD).await.status, 401);
}

#[tokio::test]
async fn a_full_redis_still_ends_sessions() {
    let redis = Redis::start();
    let service = instance(&redis.url(), "0").await;
    assert_sessions_can_be_ended(&service, || redis.fill(), || redis.empty()).await;
}

#[tokio::test]
async fn a_full_redis_with_a_replica_still_ends_sessions() {
    let pair = RedisPair::start();
    let service = instance(&pair.url(), "1").await;
    assert_sessions_can_be_ended(&service, || pair.primary.fill(), || pair.primary.empty()).await;
}

#[tokio::test]
async fn a_full_cluster_still_ends_sessions() {
    let cluster = RedisCluster::start();
    let service = instance(&cluster.url(), "0").await;
    assert_sessions_can_be_ended(&service, || cluster.fill(), || cluster.empty()).await;
}
