//! Throttling of password checks.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::support::{Fleet, PASSWORD, Reply, Service, TRUST_LOOPBACK, until};

/// A login that a proxy forwards for an address.
async fn login_from(service: &Service, address: &str, password: &str) -> Reply {
    let body = json!({"login_name": "ada", "password": password});
    service.post("/v1/login", body).header("x-forwarded-for", address).send().await
}

#[tokio::test]
async fn addresses_from_a_trusted_proxy_are_throttled_separately() {
    let settings = [TRUST_LOOPBACK, ("SYMBOLON_THROTTLE_NAME_ADDRESS", "2/15m")];
    let service = Service::with(&settings).await;
    service.register("ada").await;
    for _ in 0..2 {
        login_from(&service, "203.0.113.9", "wrong").await.problem(401, "invalid-credentials");
    }
    login_from(&service, "203.0.113.9", PASSWORD).await.problem(429, "too-many-attempts");
    let owner = login_from(&service, "198.51.100.1", PASSWORD).await;
    assert_eq!(owner.status, 200, "another address has locked the owner out");
    assert_eq!(owner.json()["session"]["address"], "198.51.100.1");
}

#[tokio::test]
async fn forged_forwarded_addresses_are_throttled_as_one_client() {
    let service = Service::with(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "2/15m")]).await;
    service.register("ada").await;
    for address in ["203.0.113.1", "203.0.113.2"] {
        login_from(&service, address, "wrong").await.problem(401, "invalid-credentials");
    }
    login_from(&service, "203.0.113.3", PASSWORD).await.problem(429, "too-many-attempts");
}

#[tokio::test]
async fn a_client_that_waits_for_retry_after_is_accepted() {
    let service = Service::with(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "2/4s")]).await;
    service.register("ada").await;
    for _ in 0..2 {
        service.try_login("ada", "wrong").await;
    }
    let refused = service.try_login("ada", PASSWORD).await;
    refused.problem(429, "too-many-attempts");
    let retry_after = refused.retry_after();
    assert!((1..=2).contains(&retry_after), "{retry_after}");
    let begun = Instant::now();
    until("a login is accepted", async || {
        let waited = begun.elapsed();
        let reply = service.try_login("ada", PASSWORD).await;
        assert!(reply.status == 200 || waited < Duration::from_secs(retry_after), "refused after {waited:?}");
        reply.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_login_refused_by_the_hashing_queue_is_not_charged() {
    let settings = [
        ("SYMBOLON_ARGON2_MEMORY_KIB", "131072"),
        ("SYMBOLON_ARGON2_ITERATIONS", "4"),
        ("SYMBOLON_HASH_THREADS", "1"),
        ("SYMBOLON_HASH_QUEUE_TIMEOUT", "1s"),
        ("SYMBOLON_THROTTLE_NAME_ADDRESS", "3/1h"),
    ];
    let service = Service::with(&settings).await;
    service.register("ada").await;
    let logins = join_all((0..20).map(|_| service.try_login("ada", PASSWORD))).await;
    let (refused, others): (Vec<_>, Vec<_>) = logins.iter().partition(|reply| reply.status == 503);
    assert!(!refused.is_empty(), "{others:?}");
    assert!(others.iter().all(|reply| [200, 429].contains(&reply.status.as_u16())), "{others:?}");
    for reply in refused {
        reply.problem(503, "overloaded");
        assert!(reply.retry_after() >= 1);
    }
    until("a login is accepted", async || service.try_login("ada", PASSWORD).await.status == 200).await;
}

/// How many passwords were checked or hashed by all of these instances.
async fn computed(instances: &[Service]) -> u64 {
    let stats = join_all(instances.iter().map(|service| service.operator_view("/stats"))).await;
    stats.iter().map(|stats| stats["password_hashing"]["computed"].as_u64().expect("a number")).sum()
}

/// Makes 64 concurrent guesses, spread over the instances, and asserts that ten are checked.
async fn assert_ten_guesses_are_checked(instances: &[Service]) {
    instances[0].register("ada").await;
    let before = computed(instances).await;
    let guesses = (0..64).map(async |guess: usize| {
        let service = &instances[guess % instances.len()];
        service.try_login("ada", &format!("guess number {guess}")).await.status.as_u16()
    });
    let answers = join_all(guesses).await;
    let count = |status| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!((count(401), count(429)), (10, 54), "{answers:?}");
    assert_eq!(computed(instances).await - before, 10);
}

#[tokio::test]
async fn concurrent_guesses_are_hashed_only_up_to_the_limit() {
    let service = Service::start().await;
    assert_ten_guesses_are_checked(&[service]).await;
}

#[tokio::test]
async fn concurrent_guesses_on_three_instances_share_the_limit() {
    let first = Service::start().await;
    let (second, third) = (first.another().await, first.another().await);
    assert_ten_guesses_are_checked(&[first, second, third]).await;
}

#[tokio::test]
async fn concurrent_guesses_on_three_instances_with_redis_share_the_limit() {
    let fleet = Fleet::start();
    let instances = [fleet.instance().await, fleet.instance().await, fleet.instance().await];
    assert_ten_guesses_are_checked(&instances).await;
}

#[tokio::test]
async fn locking_out_an_owner_takes_many_addresses() {
    let settings = [TRUST_LOOPBACK, ("SYMBOLON_THROTTLE_NAME", "60/1h")];
    let service = Service::with(&settings).await;
    service.register("ada").await;
    // Each address has ten attempts for a name. The owner is accepted until the attempts for the name are used up.
    for stranger in 0..6 {
        let owner = login_from(&service, "192.0.2.1", PASSWORD).await;
        assert_eq!(owner.status, 200, "after {stranger} addresses");
        for _ in 0..10 {
            login_from(&service, &format!("203.0.113.{stranger}"), "wrong").await.problem(401, "invalid-credentials");
        }
    }
    login_from(&service, "192.0.2.1", PASSWORD).await.problem(429, "too-many-attempts");
}

#[tokio::test]
async fn throttled_replies_are_delayed_outside_of_admission() {
    let service = Service::with(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "1/15m")]).await;
    service.try_login("ada", "wrong").await;
    let begun = Instant::now();
    for _ in 0..5 {
        service.try_login("ada", "wrong").await.problem(429, "too-many-attempts");
    }
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());

    let in_flight = async || {
        let stats = service.operator_view("/stats").await;
        stats["admission"]["logins"]["in_flight"].as_u64().expect("a number")
    };
    let mut samples = Vec::new();
    let refused = async {
        for _ in 0..5 {
            service.try_login("ada", "wrong").await.problem(429, "too-many-attempts");
        }
    };
    let watch = async {
        loop {
            samples.push(in_flight().await);
        }
    };
    tokio::select! { () = refused => {}, () = watch => {} }
    let held = samples.iter().filter(|&&count| count > 0).count();
    assert!(samples.len() > 10 && held * 2 < samples.len(), "logins in flight: {samples:?}");
}

#[tokio::test]
async fn throttling_is_the_same_for_known_unknown_and_suspended_users() {
    let service = Service::with(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "2/1h")]).await;
    let user_id = service.register("ada").await;
    service.register("eve").await;
    assert_eq!(service.suspension(&user_id, true).send().await.status, 204);
    let mut seen = Vec::new();
    for (name, password) in [("ada", PASSWORD), ("ada", "wrong"), ("eve", "wrong"), ("unknown", "wrong")] {
        // The suspended user has an attempt with each password, the others have two attempts.
        let attempts = if name == "ada" { 1 } else { 2 };
        for _ in 0..attempts {
            let reply = service.try_login(name, password).await;
            reply.problem(401, "invalid-credentials");
            seen.push(reply.text);
        }
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    let refused = join_all(["ada", "eve", "unknown"].map(|name| service.try_login(name, PASSWORD))).await;
    assert!(refused.iter().all(|reply| reply.status == 429 && reply.text == refused[0].text), "{refused:?}");
}

#[tokio::test]
async fn only_successful_logins_count_towards_the_login_limit() {
    let settings = [TRUST_LOOPBACK, ("SYMBOLON_THROTTLE_LOGINS", "3/1h"), ("SYMBOLON_THROTTLE_NAME_ADDRESS", "100/1h")];
    let service = Service::with(&settings).await;
    let user_id = service.register("ada").await;
    for _ in 0..4 {
        login_from(&service, "203.0.113.9", "wrong").await.problem(401, "invalid-credentials");
    }
    let logins = join_all((0..8).map(|_| login_from(&service, "203.0.113.9", PASSWORD))).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = logins.into_iter().partition(|reply| reply.status == 200);
    assert_eq!(accepted.len(), 3, "not three concurrent logins were accepted");
    for reply in refused {
        reply.problem(429, "too-many-attempts");
        assert!((1..=1200).contains(&reply.retry_after()), "{reply:?}");
    }
    assert_eq!(login_from(&service, "198.51.100.1", PASSWORD).await.status, 200, "another address was throttled");
    let issued = service.operator(Method::POST, &format!("/users/{user_id}/sessions")).json(&json!({}));
    assert_eq!(issued.header("x-forwarded-for", "203.0.113.9").send().await.status, 200, "an operator was throttled");
}
