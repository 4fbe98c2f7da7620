//! What one client may take of the hashing that all share.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;

use super::harness::{PASSWORD, Service, registration, until};

const ATTACKER: &str = "203.0.113.9";
const CALM: &str = "198.51.100.1";
/// How many others log in, one after the other.
const OTHERS: usize = 45;

/// An instance whose one hashing thread does a few dozen hashes a second. Without the throttle, only the queue is fair.
async fn instance() -> Service {
    Service::with(&[
        ("SYMBOLON_HASH_THREADS", "1"),
        ("SYMBOLON_HASH_MEMORY_KIB", "19456"),
        ("SYMBOLON_HASH_PASSES", "2"),
        ("SYMBOLON_HASH_DEADLINE", "4s"),
        ("SYMBOLON_THROTTLE", "off"),
        ("SYMBOLON_TRUSTED_PROXIES", "127.0.0.0/8"),
    ])
    .await
}

async fn register(service: &Service, name: &str, address: &str) -> u16 {
    service.post("/v1/users", registration(name)).header("x-forwarded-for", address).send().await.status.as_u16()
}

async fn login(service: &Service, name: &str, address: &str) -> u16 {
    let body = json!({"login_name": name, "password": PASSWORD});
    service.post("/v1/login", body).header("x-forwarded-for", address).send().await.status.as_u16()
}

/// Has four connections of one address do something all the time, and others log in meanwhile; returns how many of them
/// succeeded, and how long the slowest took.
async fn log_in_beside(service: &Service, attack: impl AsyncFn(usize) -> u16) -> (usize, Duration) {
    let (stop, done, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let attackers = join_all((0..4).map(async |_| {
        while !stop.load(Ordering::Relaxed) {
            let status = attack(done.fetch_add(1, Ordering::Relaxed)).await;
            assert!([200, 201, 503].contains(&status), "{status}");
            refused.fetch_add(usize::from(status == 503), Ordering::Relaxed);
        }
    }));
    let calm = async {
        until("the attacker's queue stands", async || refused.load(Ordering::Relaxed) > 0).await;
        let (mut succeeded, mut slowest) = (0, Duration::ZERO);
        for _ in 0..OTHERS {
            let begun = Instant::now();
            succeeded += usize::from(login(service, "ada", CALM).await == 200);
            slowest = slowest.max(begun.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        (succeeded, slowest)
    };
    let (_, outcome) = futures_util::future::join(attackers, calm).await;
    assert!(done.load(Ordering::Relaxed) > OTHERS, "the attacker was served or refused all the time");
    outcome
}

#[tokio::test]
async fn four_connections_that_register_keep_nobody_from_logging_in() {
    let service = instance().await;
    assert_eq!(register(&service, "ada", CALM).await, 201);
    let attack = async |number: usize| register(&service, &format!("new-{number}"), ATTACKER).await;
    let (succeeded, slowest) = log_in_beside(&service, attack).await;
    assert_eq!(succeeded, OTHERS);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

#[tokio::test]
async fn four_connections_that_log_in_keep_nobody_else_from_it() {
    let service = instance().await;
    assert_eq!(register(&service, "ada", CALM).await, 201);
    assert_eq!(register(&service, "eve", ATTACKER).await, 201);
    let attack = async |_| login(&service, "eve", ATTACKER).await;
    let (succeeded, slowest) = log_in_beside(&service, attack).await;
    assert_eq!(succeeded, OTHERS);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}
