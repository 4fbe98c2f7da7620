//! Whose password checks are counted together.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::{
    harness::{PASSWORD, Reply, Service, until},
    real_stores::{Fleet, TOKEN},
};

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
    tokio::time::sleep(Duration::from_secs(told)).await;
    assert_eq!(service.try_login("ada", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn a_login_that_would_wait_too_long_is_refused_and_not_counted() {
    let settings = [
        ("SYMBOLON_HASH_MEMORY_KIB", "131072"),
        ("SYMBOLON_HASH_PASSES", "4"),
        ("SYMBOLON_HASH_THREADS", "1"),
        ("SYMBOLON_HASH_DEADLINE", "1s"),
        ("SYMBOLON_THROTTLE_NAME_ADDRESS", "3/1h"),
    ];
    let service = Service::with(&settings).await;
    service.register("ada").await;
    let logins = join_all((0..20).map(|_| service.try_login("ada", PASSWORD))).await;
    let (refused, others): (Vec<_>, Vec<_>) = logins.iter().partition(|reply| reply.status == 503);
    assert!(!refused.is_empty() && others.iter().all(|reply| [200, 429].contains(&reply.status.as_u16())));
    for reply in refused {
        reply.problem(503, "overloaded");
        assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1));
    }
    until("there is room again", async || service.try_login("ada", PASSWORD).await.status == 200).await;
}

/// How many passwords were checked or hashed by all of these instances.
async fn computed(instances: &[Service], token: &str) -> u64 {
    let stats = instances.iter().map(|service| service.get("/v1/operator/stats").bearer(token).send());
    let computed = |reply: &Reply| reply.json()["password_hashing"]["computed"].as_u64().expect("a number");
    join_all(stats).await.iter().map(computed).sum()
}

/// 64 guesses at once, spread over the instances, of which ten may be checked.
async fn guess_in_parallel(instances: &[Service], token: &str) {
    instances[0].register("ada").await;
    let before = computed(instances, token).await;
    let guesses = (0..64).map(async |guess: usize| {
        let service = &instances[guess % instances.len()];
        service.try_login("ada", &format!("guess number {guess}")).await.status.as_u16()
    });
    let answers = join_all(guesses).await;
    let count = |status| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!((count(401), count(429)), (10, 54), "{answers:?}");
    assert_eq!(computed(instances, token).await - before, 10);
}

#[tokio::test]
async fn of_parallel_guesses_no_more_are_hashed_than_the_limit_allows() {
    let service = Service::start().await;
    let token = service.operator_token();
    guess_in_parallel(&[service], &token).await;
}

#[tokio::test]
async fn parallel_guesses_over_three_instances_are_counted_together() {
    let first = Service::start().await;
    let (second, third, token) = (first.another().await, first.another().await, first.operator_token());
    guess_in_parallel(&[first, second, third], &token).await;
}

#[tokio::test]
async fn parallel_guesses_over_three_instances_with_redis_are_counted_together() {
    let fleet = Fleet::start();
    let instances = [fleet.instance().await, fleet.instance().await, fleet.instance().await];
    guess_in_parallel(&instances, TOKEN).await;
}

#[tokio::test]
async fn a_stranger_needs_many_addresses_to_keep_an_owner_out() {
    let settings = [("SYMBOLON_TRUSTED_PROXIES", "127.0.0.0/8"), ("SYMBOLON_THROTTLE_NAME", "60/1h")];
    let service = Service::with(&settings).await;
    service.register("ada").await;
    // Each address has the ten tries of one name, and the owner is let in until the name has used its own up.
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
async fn refusals_are_delayed_and_hold_no_place_meanwhile() {
    let service = Service::with(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "1/15m")]).await;
    service.try_login("ada", "wrong").await;
    let begun = Instant::now();
    for _ in 0..5 {
        service.try_login("ada", "wrong").await.problem(429, "too-many-attempts");
    }
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());

    let token = service.operator_token();
    let in_flight = async || {
        let stats = service.get("/v1/operator/stats").bearer(&token).send().await.json();
        stats["admission"]["logins"]["in_flight"].as_u64().expect("a number")
    };
    let mut places = Vec::new();
    let refused = async {
        for _ in 0..5 {
            service.try_login("ada", "wrong").await.problem(429, "too-many-attempts");
        }
    };
    let watch = async {
        loop {
            places.push(in_flight().await);
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
    };
    tokio::select! { () = refused => {}, () = watch => {} }
    let held = places.iter().filter(|&&count| count > 0).count();
    assert!(held * 2 < places.len(), "in flight when looked at: {places:?}");
}

#[tokio::test]
async fn what_is_throttled_looks_the_same_for_names_that_nobody_has() {
    let service = Service::with(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "2/1h")]).await;
    let user_id = service.register("ada").await;
    service.register("eve").await;
    let suspend = service.operator(Method::PUT, &format!("/users/{user_id}/suspended"));
    assert_eq!(suspend.json(&json!({"suspended": true})).send().await.status, 204);
    let mut seen = Vec::new();
    for (name, password) in [("ada", PASSWORD), ("ada", "wrong"), ("eve", "wrong"), ("nobody", "wrong")] {
        // The first two are for the suspended user: its two tries are used up by both together.
        let tries = if name == "ada" { 1 } else { 2 };
        for _ in 0..tries {
            let reply = service.try_login(name, password).await;
            reply.problem(401, "invalid-credentials");
            seen.push(reply.text);
        }
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    let refused = join_all(["ada", "eve", "nobody"].map(|name| service.try_login(name, PASSWORD))).await;
    assert!(refused.iter().all(|reply| reply.status == 429 && reply.text == refused[0].text), "{refused:?}");
}

#[tokio::test]
async fn successful_logins_are_counted_by_address_and_failed_ones_are_not_among_them() {
    let settings = [
        ("SYMBOLON_TRUSTED_PROXIES", "127.0.0.0/8"),
        ("SYMBOLON_THROTTLE_LOGINS", "3/1h"),
        ("SYMBOLON_THROTTLE_NAME_ADDRESS", "100/1h"),
    ];
    let service = Service::with(&settings).await;
    let user_id = service.register("ada").await;
    for _ in 0..4 {
        login_from(&service, "203.0.113.9", "wrong").await.problem(401, "invalid-credentials");
    }
    let logins = join_all((0..8).map(|_| login_from(&service, "203.0.113.9", PASSWORD))).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = logins.into_iter().partition(|reply| reply.status == 200);
    assert_eq!(accepted.len(), 3, "no parallel login slips by");
    for reply in refused {
        reply.problem(429, "too-many-attempts");
        assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|seconds| (1..=1200).contains(&seconds)));
    }
    assert_eq!(login_from(&service, "198.51.100.1", PASSWORD).await.status, 200, "another address has its own");
    let issued = service.operator(Method::POST, &format!("/users/{user_id}/sessions")).json(&json!({}));
    assert_eq!(issued.header("x-forwarded-for", "203.0.113.9").send().await.status, 200, "operators are not counted");
}
