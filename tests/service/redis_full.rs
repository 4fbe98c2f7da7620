//! Redis with its memory full, under `noeviction`: nothing more can be kept, and everything can be ended.

use serde_json::{Value, json};

use super::{
    harness::{PASSWORD, Service},
    real_stores::TOKEN,
};
use crate::servers::redis::{Redis, RedisCluster, RedisPair};

const NEW_PASSWORD: &str = "staple battery horse";

/// An instance with sessions in Redis.
async fn instance(redis: &str, replicas: &str) -> Service {
    Service::with(&[
        ("SYMBOLON_REDIS_URL", redis),
        ("SYMBOLON_REDIS_WAIT_REPLICAS", replicas),
        ("SYMBOLON_OPERATOR_TOKEN", TOKEN),
    ])
    .await
}

async fn everything_can_be_ended(service: &Service, fill: impl FnOnce(), empty: impl FnOnce()) {
    let user_id = service.register("ada").await;
    let (asking, first, other) = (service.login("ada").await, service.login("ada").await, service.login("ada").await);
    let leaving = service.member("bob").await;
    fill();

    service.try_login("ada", PASSWORD).await.problem(503, "unavailable");
    assert_eq!(service.session_status(&first).await, 200, "what is there is still read");
    assert_eq!(service.request(reqwest::Method::POST, "/v1/logout").bearer(&first).send().await.status, 204);
    assert_eq!(service.session_status(&first).await, 401);

    let change = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    let reply = service.put("/v1/users/me/password", change).bearer(&asking).send().await;
    assert_eq!(reply.status, 204, "{}", reply.text);
    assert_eq!((service.session_status(&other).await, service.session_status(&asking).await), (401, 200));
    service.try_login("ada", NEW_PASSWORD).await.problem(503, "unavailable");

    let path = format!("/v1/operator/users/{user_id}/permissions");
    let permit =
        async |permissions: Value| service.put(&path, json!({"permissions": permissions})).bearer(TOKEN).send().await;
    let reply = permit(json!(["read"])).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let session = service.get("/v1/session").bearer(&asking).send().await.json();
    assert_eq!(session["permissions"], json!(["read"]), "{session}");
    let reply = permit(json!(["read", "write"])).await;
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
    everything_can_be_ended(&service, || redis.fill(), || redis.empty()).await;
}

#[tokio::test]
async fn a_full_redis_still_ends_sessions_on_its_replica_too() {
    let pair = RedisPair::start();
    let service = instance(&pair.url(), "1").await;
    everything_can_be_ended(&service, || pair.primary.fill(), || pair.primary.empty()).await;
}

#[tokio::test]
async fn a_full_cluster_still_ends_sessions() {
    let cluster = RedisCluster::start();
    let service = instance(&cluster.url(), "0").await;
    everything_can_be_ended(&service, || cluster.fill(), || cluster.empty()).await;
}
