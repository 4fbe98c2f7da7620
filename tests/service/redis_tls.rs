//! TLS to Redis: who is trusted, and what is said when nobody is.

use std::path::Path;

use super::harness::{Service, run, until};
use crate::servers::redis::{Certificates, Redis, RedisCluster, RedisSentinel};

fn own() -> Certificates {
    Certificates::for_names(&["127.0.0.1", "localhost"])
}

fn settings<'a>(redis: &'a str, ca: &'a Path) -> [(&'static str, &'a str); 2] {
    [("SYMBOLON_REDIS_URL", redis), ("SYMBOLON_REDIS_CA_FILE", ca.to_str().expect("a path"))]
}

async fn sessions_work(redis: &str, ca: &Path) {
    assert!(redis.starts_with("rediss"), "{redis}");
    let service = Service::with(&settings(redis, ca)).await;
    until("it is connected", async || service.get("/v1/health/ready").send().await.status == 200).await;
    let token = service.member("ada").await;
    assert_eq!(service.session_status(&token).await, 200);
    assert_eq!(service.delete("/v1/sessions").bearer(&token).send().await.status, 204);
    assert_eq!(service.session_status(&token).await, 401);
}

#[tokio::test]
async fn sessions_work_over_tls() {
    let redis = Redis::with_certificates(own());
    sessions_work(&redis.url(), &redis.ca().expect("a CA")).await;
}

#[tokio::test]
async fn sessions_work_over_tls_on_a_cluster() {
    let cluster = RedisCluster::with_certificates(own());
    sessions_work(&cluster.url(), &cluster.ca().expect("a CA")).await;
}

#[tokio::test]
async fn sessions_work_over_tls_with_sentinel() {
    let sentinel = RedisSentinel::with_certificates(own());
    sessions_work(&sentinel.url(), &sentinel.ca().expect("a CA")).await;
}

#[tokio::test]
async fn nodes_of_a_cluster_are_verified_for_the_names_that_they_announce() {
    let cluster = RedisCluster::with_certificates(Certificates::for_names(&["localhost"]));
    cluster.announce_host_name("localhost");
    let url = cluster.url().replace("127.0.0.1", "localhost");
    sessions_work(&url, &cluster.ca().expect("a CA")).await;
}

/// An instance does without Redis, and says in its log that the reason is `why`.
async fn is_refused(redis: &str, ca: &Path, why: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("log");
    let service = Service::logging_to(&log, &settings(redis, ca)).await;
    until("the log tells why", async || std::fs::read_to_string(&log).expect("a log").contains(why)).await;
    assert_eq!(service.get("/v1/health/ready").send().await.status, 503);
}

#[tokio::test]
async fn a_server_with_a_certificate_of_another_ca_is_refused() {
    // Both CAs have the same name: it is the signature that tells them apart.
    let (redis, other) = (Redis::with_certificates(own()), own());
    is_refused(&redis.url(), &other.ca(), "InvalidCertificate(BadSignature)").await;
}

#[tokio::test]
async fn without_a_ca_file_a_private_ca_is_not_trusted() {
    let redis = Redis::with_certificates(own());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("log");
    let service = Service::logging_to(&log, &[("SYMBOLON_REDIS_URL", &redis.url())]).await;
    until("the log tells why", async || std::fs::read_to_string(&log).expect("a log").contains("UnknownIssuer")).await;
    assert_eq!(service.get("/v1/health/ready").send().await.status, 503);
}

#[tokio::test]
async fn a_server_with_a_certificate_for_another_host_is_refused() {
    let redis = Redis::with_certificates(Certificates::for_names(&["127.0.0.1", "elsewhere.example"]));
    let url = redis.url().replace("127.0.0.1", "localhost");
    is_refused(&url, &redis.ca().expect("a CA"), "NotValidForName").await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused() {
    let (redis, certificates) = (Redis::start(), own());
    let url = redis.url().replace("redis://", "rediss://");
    is_refused(&url, &certificates.ca(), "no connection with Redis").await;
    assert!(!redis.command(&["keys", "*"]).contains("symbolon"), "it was written to");
}

#[tokio::test]
async fn a_ca_file_that_holds_no_certificate_stops_the_start_and_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
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
        assert!(code != 0 && out.is_empty(), "{}: {code} {out}", ca.display());
        assert!(err.contains("redis_ca_file"), "{}: {err}", ca.display());
    }
}

#[tokio::test]
async fn the_password_of_redis_is_not_logged_at_any_level() {
    let redis = Redis::with_password(own(), "the-password-of-redis");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("log");
    let url = redis.url().replace("127.0.0.1", "default:the-password-of-redis@127.0.0.1");
    let ca = redis.ca().expect("a CA");
    let settings = [settings(&url, &ca).as_slice(), &[("SYMBOLON_LOG", "trace")]].concat();
    let mut service = Service::logging_to(&log, &settings).await;
    service.member("ada").await;
    assert!(service.terminate().await);
    let logged = std::fs::read_to_string(&log).expect("a log");
    assert!(logged.contains("TRACE") && logged.contains("fred"), "it is a log at trace level");
    let found = logged.lines().find(|line| line.contains("the-password-of-redis"));
    assert!(found.is_none(), "{found:?}");
}
