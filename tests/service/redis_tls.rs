//! TLS to Redis: which servers are trusted, and what is logged about the others.

use std::path::Path;

use crate::support::{
    LogFile, Service, run,
    servers::redis::{Certificates, Redis, RedisCluster, RedisSentinel},
    temporary_directory, until,
};

/// Certificates for this machine, of a new CA.
fn local_certificates() -> Certificates {
    Certificates::for_names(&["127.0.0.1", "localhost"])
}

fn settings<'a>(redis: &'a str, ca: &'a Path) -> [(&'static str, &'a str); 2] {
    [("SYMBOLON_REDIS_URL", redis), ("SYMBOLON_REDIS_CA_FILE", ca.to_str().expect("a path"))]
}

/// Asserts that an instance reads and ends sessions over TLS.
async fn assert_sessions_work(redis: &str, ca: &Path) {
    assert!(redis.starts_with("rediss"), "{redis}");
    let service = Service::with(&settings(redis, ca)).await;
    service.until_ready().await;
    let token = service.register_and_login("ada").await;
    assert_eq!(service.session_status(&token).await, 200);
    assert_eq!(service.delete("/v1/sessions").bearer(&token).send().await.status, 204);
    assert_eq!(service.session_status(&token).await, 401);
}

#[tokio::test]
async fn sessions_are_stored_over_tls() {
    let redis = Redis::with_certificates(local_certificates());
    assert_sessions_work(&redis.url(), &redis.ca().expect("a CA")).await;
}

#[tokio::test]
async fn sessions_are_stored_over_tls_on_a_cluster() {
    let cluster = RedisCluster::with_certificates(local_certificates());
    assert_sessions_work(&cluster.url(), &cluster.ca().expect("a CA")).await;
}

#[tokio::test]
async fn sessions_are_stored_over_tls_with_sentinel() {
    let sentinel = RedisSentinel::with_certificates(local_certificates());
    assert_sessions_work(&sentinel.url(), &sentinel.ca().expect("a CA")).await;
}

#[tokio::test]
async fn cluster_nodes_are_verified_by_their_announced_names() {
    let cluster = RedisCluster::with_certificates(Certificates::for_names(&["localhost"]));
    cluster.announce_host_name("localhost");
    let url = cluster.url().replace("127.0.0.1", "localhost");
    assert_sessions_work(&url, &cluster.ca().expect("a CA")).await;
}

/// Asserts that an instance does not use a Redis, and logs the reason.
async fn assert_refused(redis: &str, ca: Option<&Path>, reason: &str) {
    let log = LogFile::new();
    let settings = match ca {
        Some(ca) => settings(redis, ca).to_vec(),
        None => vec![("SYMBOLON_REDIS_URL", redis)],
    };
    let service = Service::logging_to(&log, &settings).await;
    until("the reason is logged", async || log.text().contains(reason)).await;
    assert!(!service.is_ready().await);
}

#[tokio::test]
async fn a_server_with_a_certificate_of_another_ca_is_refused() {
    // Both CAs have the same name, and differ in their keys.
    let (redis, other) = (Redis::with_certificates(local_certificates()), local_certificates());
    assert_refused(&redis.url(), Some(&other.ca()), "InvalidCertificate(BadSignature)").await;
}

#[tokio::test]
async fn without_a_ca_file_a_private_ca_is_not_trusted() {
    let redis = Redis::with_certificates(local_certificates());
    assert_refused(&redis.url(), None, "UnknownIssuer").await;
}

#[tokio::test]
async fn a_server_with_a_certificate_for_another_host_is_refused() {
    let redis = Redis::with_certificates(Certificates::for_names(&["127.0.0.1", "elsewhere.example"]));
    let url = redis.url().replace("127.0.0.1", "localhost");
    assert_refused(&url, redis.ca().as_deref(), "NotValidForName").await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused() {
    let (redis, certificates) = (Redis::start(), local_certificates());
    let url = redis.url().replace("redis://", "rediss://");
    assert_refused(&url, Some(&certificates.ca()), "cannot connect to Redis").await;
    assert!(!redis.command(&["keys", "*"]).contains("symbolon"), "the instance has written to it");
}

#[tokio::test]
async fn a_ca_file_that_holds_no_certificate_stops_the_start_and_is_named() {
    let directory = temporary_directory();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path
    };
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for ca in [
        directory.path().join("missing"),
        file("empty", ""),
        file("text", "no PEM"),
        file("broken", broken),
        file("no-certificate", no_certificate),
    ] {
        let (code, out, err) = run(&[], &settings("rediss://127.0.0.1:1", &ca), b"").await;
        assert!(code == 1 && out.is_empty(), "{}: {code} {out}", ca.display());
        assert!(err.contains("redis_ca_file"), "{}: {err}", ca.display());
    }
}

#[tokio::test]
async fn the_password_of_redis_is_not_logged_at_any_level() {
    let redis = Redis::with_password(local_certificates(), "the-password-of-redis");
    let log = LogFile::new();
    let url = redis.url().replace("127.0.0.1", "default:the-password-of-redis@127.0.0.1");
    let ca = redis.ca().expect("a CA");
    let settings = [settings(&url, &ca).as_slice(), &[("SYMBOLON_LOG", "trace")]].concat();
    let mut service = Service::logging_to(&log, &settings).await;
    service.register_and_login("ada").await;
    assert!(service.terminate().await);
    let logged = log.text();
    assert!(logged.contains("TRACE") && logged.contains("fred"), "the log is not at trace level");
    log.assert_free_of(&["the-password-of-redis"]);
}
