//! Problems of stores that fail, or that another request keeps busy.

use serde_json::json;

use super::assert_snapshot;
use crate::support::{
    NEW_PASSWORD, PASSWORD, Service, eventually, hold_writers, on_every_shard, registration, servers::free_port, until,
};

#[tokio::test]
async fn problems_of_failed_stores() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let without_redis = Service::with(&[("SYMBOLON_REDIS_URL", &format!("redis://127.0.0.1:{}", free_port()))]).await;
    assert_snapshot("unavailable", &without_redis.get("/v1/session").bearer(&token).send().await);
    assert_eq!(on_every_shard(&service, "UPDATE users SET permissions = 'invalid'").await, 1);
    assert_snapshot("internal", &service.get("/v1/users/me").bearer(&token).send().await);
    assert_eq!(on_every_shard(&service, "DELETE FROM users").await, 1);
    assert_snapshot("login-name-pending", &service.post("/v1/users", registration("ada")).send().await);
}

#[tokio::test]
async fn problems_of_busy_stores() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let held = hold_writers(&service).await;
    let change = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    let change = tokio::spawn(service.put("/v1/users/me/password", change).bearer(&token).try_send());
    let pending = eventually("the first revocation step is done", async || {
        let reply = service.try_login("ada", PASSWORD).await;
        if reply.status == 503 { Ok(reply) } else { Err(reply.text) }
    })
    .await;
    assert_snapshot("revocation-pending", &pending);
    change.abort();
    drop(held);
}

#[tokio::test]
async fn problems_of_busy_instances() {
    let settings = [
        ("SYMBOLON_CONCURRENCY_MIN", "1"),
        ("SYMBOLON_CONCURRENCY_MAX", "1"),
        ("SYMBOLON_BODY_TIMEOUT", "1s"),
        ("SYMBOLON_SHARD_TIMEOUT", "2s"),
        ("SYMBOLON_REQUEST_TIMEOUT", "2s"),
    ];
    let service = Service::with(&settings).await;
    let token = service.register_and_login("ada").await;
    let held = hold_writers(&service).await;
    let change = tokio::spawn(service.patch("/v1/users/me/preferences", json!({"a": 1})).bearer(&token).send());
    until("the change is in flight", async || {
        service.operator_view("/stats").await["admission"]["requests"]["in_flight"] == 1
    })
    .await;
    assert_snapshot("overloaded", &service.get("/v1/session").bearer(&token).send().await);
    assert_snapshot("timeout", &change.await.expect("no panic"));
    drop(held);
}
