//! Requests that show whether each shard and the sessions are served.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::{PASSWORD, Service, fleet::user_on_each_shard, until};

/// How soon service must be restored after its store.
pub const BACK_WITHIN: Duration = Duration::from_secs(10);

/// A user on each shard, and an admin.
pub struct Probe {
    names: [String; 3],
    tokens: [String; 3],
    pub admin: String,
}

impl Probe {
    pub async fn new(service: &Service) -> Self {
        let names = user_on_each_shard(service).await;
        let tokens = [service.login(&names[0]).await, service.login(&names[1]).await, service.login(&names[2]).await];
        let admin_id = service.register("admin").await;
        assert_eq!(service.set_permissions(&admin_id, &["read", "write", "admin"]).await.status, 200);
        Self { names, tokens, admin: service.login("admin").await }
    }

    /// The status of a write on a shard that needs new pages.
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
            // Otherwise the user would reach its limit of sessions, and lose its first one.
            let token = reply.string("token");
            let _ = service.request(Method::POST, "/v1/logout").bearer(&token).try_send().await;
        }
        reply.status.as_u16()
    }

    /// Asserts that the process is live, and ready in spite of a fault of a shared store.
    pub async fn assert_in_service(&self, service: &Service) {
        for path in ["/v1/health/live", "/v1/health/ready"] {
            let reply = service.get(path).send().await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        }
    }

    /// Waits until all shards and the sessions are served; returns how long that took.
    pub async fn until_restored(&self, after: &str, service: &Service) -> Duration {
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
        assert!(took < BACK_WITHIN, "after {after} service was restored only after {took:?}");
        took
    }
}
