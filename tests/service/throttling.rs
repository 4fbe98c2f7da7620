//! Whose password checks are counted together.

use serde_json::json;

use super::harness::{PASSWORD, Reply, Service};

/// A login as a proxy would pass it on.
async fn login_from(service: &Service, address: &str, password: &str) -> Reply {
    let body = json!({"login_name": "ada", "password": password});
    service.post("/v1/login", body).header("x-forwarded-for", address).send().await
}

#[tokio::test]
async fn addresses_behind_a_trusted_proxy_are_counted_apart() {
    let settings = [("SYMBOLON_TRUSTED_PROXIES", "127.0.0.0/8"), ("SYMBOLON_THROTTLE_NAME_ADDRESS", "2/15m")];
    let service = Service::with(&settings).await;
    service.register("ada").await;
    for _ in 0..2 {
        login_from(&service, "203.0.113.9", "wrong").await.problem(401, "invalid-credentials");
    }
    login_from(&service, "203.0.113.9", PASSWORD).await.problem(429, "too-many-attempts");
    let owner = login_from(&service, "198.51.100.1", PASSWORD).await;
    assert_eq!(owner.status, 200, "a stranger elsewhere does not lock the owner out");
    assert_eq!(owner.json()["session"]["address"], "198.51.100.1");
}

#[tokio::test]
async fn a_client_that_makes_addresses_up_is_counted_as_one() {
    let service = Service::with(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "2/15m")]).await;
    service.register("ada").await;
    for address in ["203.0.113.1", "203.0.113.2"] {
        login_from(&service, address, "wrong").await.problem(401, "invalid-credentials");
    }
    login_from(&service, "203.0.113.3", PASSWORD).await.problem(429, "too-many-attempts");
}

#[tokio::test]
async fn who_waits_as_long_as_it_was_told_is_let_in() {
    let service = Service::with(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "2/4s")]).await;
    service.register("ada").await;
    for _ in 0..2 {
        service.try_login("ada", "wrong").await;
    }
    let refused = service.try_login("ada", PASSWORD).await;
    refused.problem(429, "too-many-attempts");
    let told: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=2).contains(&told), "{told}");
    tokio::time::sleep(std::time::Duration::from_secs(told)).await;
    assert_eq!(service.try_login("ada", PASSWORD).await.status, 200);
}
