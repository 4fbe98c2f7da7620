//! Whether everything is served: each shard and the sessions.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::service::{
    harness::{PASSWORD, Service, until},
    real_stores::{TOKEN, one_on_each},
};

/// What service may take to come back once its store is well again.
pub const BACK_WITHIN: Duration = Duration::from_secs(10);

/// A user on each shard, its name on the same one, and an admin.
pub struct Probe {
    names: [String; 3],
    tokens: [String; 3],
    pub admin: String,
}

impl Probe {
    pub async fn new(service: &Service) -> Self {
        let names = one_on_each(service).await;
        let tokens = [service.login(&names[0]).await, service.login(&names[1]).await, service.login(&names[2]).await];
        let path = format!("/v1/operator/users/{}/permissions", service.register("admin").await);
        let permissions = json!({"permissions": ["read", "write", "admin"]});
        assert_eq!(service.put(&path, permissions).bearer(TOKEN).send().await.status, 200);
        Self { names, tokens, admin: service.login("admin").await }
    }

    /// The status of a write on a shard that takes new pages.
    pub async fn write(&self, service: &Service, shard: usize) -> u16 {
        let note: String = std::iter::repeat_with(fastrand::alphanumeric).take(4000).collect();
        let request = service.patch("/v1/users/me/preferences", json!({ "note": note })).bearer(&self.tokens[shard]);
        request.send().await.status.as_u16()
    }

    /// The status of a read on a shard.
    pub async fn read(&self, service: &Service, shard: usize) -> u16 {
        service.get("/v1/users/me").bearer(&self.tokens[shard]).send().await.status.as_u16()
    }

    /// The status of a read of a session.
    pub async fn session(&self, service: &Service) -> u16 {
        service.session_status(&self.tokens[0]).await
    }

    /// The status of a login on a shard.
    pub async fn login(&self, service: &Service, shard: usize) -> u16 {
        let reply = service.try_login(&self.names[shard], PASSWORD).await;
        if reply.status == 200 {
            // Else the user's first session gives way at some time.
            let token = reply.json()["token"].as_str().expect("a token").to_owned();
            let _ = service.request(Method::POST, "/v1/logout").bearer(&token).try_send().await;
        }
        reply.status.as_u16()
    }

    /// Asserts that the process serves what needs no store, and is not taken out for a fault that others share.
    pub async fn assert_in_service(&self, service: &Service) {
        for path in ["/v1/health/live", "/v1/health/ready"] {
            let reply = service.get(path).send().await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        }
    }

    /// Waits until everything is served; returns how long that took.
    pub async fn wait_until_back(&self, after: &str, service: &Service) -> Duration {
        let begun = Instant::now();
        until(&format!("everything is served after {after}"), async || {
            for shard in 0..3 {
                if self.write(service, shard).await != 200 || self.login(service, shard).await != 200 {
                    return false;
                }
            }
            let ready = service.get("/v1/health/ready").send().await;
            self.session(service).await == 200 && ready.status == 200 && ready.json()["degraded"] == false
        })
        .await;
        let took = begun.elapsed();
        assert!(took < BACK_WITHIN, "after {after} service was back only after {took:?}");
        took
    }
}
