//! Fairness of the password hashing queue.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{PASSWORD, Service, TRUST_LOOPBACK, registration, until};

const ATTACKER: &str = "203.0.113.9";
const OTHERS_ADDRESS: &str = "198.51.100.1";
/// How many logins others make, one after the other.
const LOGINS: usize = 45;

/// The longest time that a login of others may take on a busy machine: half of the queue's timeout.
const MAX_LOGIN_TIME: Duration = Duration::from_secs(2);

/// An instance that hashes a few dozen passwords a second, and has no throttle.
async fn instance() -> Service {
    Service::with(&[
        ("SYMBOLON_HASH_THREADS", "1"),
        ("SYMBOLON_ARGON2_MEMORY_KIB", "19456"),
        ("SYMBOLON_ARGON2_ITERATIONS", "2"),
        ("SYMBOLON_HASH_QUEUE_TIMEOUT", "4s"),
        ("SYMBOLON_THROTTLE", "off"),
        TRUST_LOOPBACK,
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

/// Sends requests of one address on four connections all the time, and logins of others meanwhile. Returns how many of the
/// logins succeeded, and how long the slowest took.
async fn log_in_during(service: &Service, attack: impl AsyncFn(usize) -> u16) -> (usize, Duration) {
    let (stop, done, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let attackers = join_all((0..4).map(async |_| {
        while !stop.load(Ordering::Relaxed) {
            let status = attack(done.fetch_add(1, Ordering::Relaxed)).await;
            assert!([200, 201, 503].contains(&status), "{status}");
            refused.fetch_add(usize::from(status == 503), Ordering::Relaxed);
        }
    }));
    let others = async {
        until("the attacker's share of the queue is full", async || refused.load(Ordering::Relaxed) > 0).await;
        let (mut succeeded, mut slowest) = (0, Duration::ZERO);
        for _ in 0..LOGINS {
            let begun = Instant::now();
            succeeded += usize::from(login(service, "ada", OTHERS_ADDRESS).await == 200);
            slowest = slowest.max(begun.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        (succeeded, slowest)
    };
    let (_, outcome) = futures_util::future::join(attackers, others).await;
    assert!(done.load(Ordering::Relaxed) > LOGINS, "the attacker made too few requests");
    outcome
}

#[tokio::test]
async fn registrations_from_one_address_do_not_block_logins_of_others() {
    let service = instance().await;
    assert_eq!(register(&service, "ada", OTHERS_ADDRESS).await, 201);
    let attack = async |number: usize| register(&service, &format!("new-{number}"), ATTACKER).await;
    let (succeeded, slowest) = log_in_during(&service, attack).await;
    assert_eq!(succeeded, LOGINS);
    assert!(slowest < MAX_LOGIN_TIME, "{slowest:?}");
}

#[tokio::test]
async fn logins_from_one_address_do_not_block_logins_of_others() {
    let service = instance().await;
    assert_eq!(register(&service, "ada", OTHERS_ADDRESS).await, 201);
    assert_eq!(register(&service, "eve", ATTACKER).await, 201);
    let attack = async |_| login(&service, "eve", ATTACKER).await;
    let (succeeded, slowest) = log_in_during(&service, attack).await;
    assert_eq!(succeeded, LOGINS);
    assert!(slowest < MAX_LOGIN_TIME, "{slowest:?}");
}
