//! TLS to PostgreSQL, as `docs/postgres-redis.md` describes it.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{
    LogFile, Service,
    servers::{certificates::Authority, postgres::Postgres, redis::Redis},
    until,
};

/// A password in URLs. The server requires none, and it must not be logged.
const SECRET: &str = "s3cret-of-the-url";

/// The servers of two shards. The catalog is on the plain one.
struct Tls {
    plain: Postgres,
    protected: Postgres,
    redis: Redis,
}

impl Tls {
    /// Servers of which the protected one has a certificate for `host`.
    fn start(authority: &Authority, host: &str) -> Self {
        Self::on(Postgres::start_with_tls(&authority.issue(&[host])))
    }

    fn on(protected: Postgres) -> Self {
        let tls = Self { plain: Postgres::start(), protected, redis: Redis::start() };
        tls.plain.database("shard");
        tls.protected.database("shard");
        tls
    }

    fn url(&self, host: &str, query: &str) -> String {
        format!("postgres://postgres:{SECRET}@{host}:{}/shard{query}", self.protected.port())
    }

    /// Starts an instance; returns it and its log.
    async fn instance(&self, url: &str) -> (Service, LogFile) {
        let shards = format!("db-node-0={},db-node-1={url}", self.plain.url("shard"));
        let redis = self.redis.url();
        let settings = [("SYMBOLON_SHARDS", shards.as_str()), ("SYMBOLON_REDIS_URL", &redis)];
        let log = LogFile::new();
        (Service::logging_to(&log, &settings).await, log)
    }

    /// Whether the connections to the protected server use TLS: `t`, `f`, or nothing if there is none.
    fn encrypted(&self) -> String {
        let statement = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                         WHERE application_name = 'symbolon'";
        self.protected.psql("shard", statement).expect("an answer")
    }
}

async fn is_up(service: &Service) -> bool {
    let ready = service.get("/v1/health/ready").send().await;
    assert_eq!(ready.status, StatusCode::OK, "the instance is not ready with one shard");
    let shard = ready.json()["dependencies"][3].clone();
    assert_eq!(shard["name"], json!("db-node-1"));
    shard["up"] == true
}

fn verify_full(authority: &Authority) -> String {
    format!("?sslmode=verify-full&sslrootcert={}", authority.path().display())
}

async fn assert_served(tls: &Tls, host: &str, query: &str) {
    let (service, log) = tls.instance(&tls.url(host, query)).await;
    until("the shard is up", async || is_up(&service).await).await;
    assert_eq!(tls.encrypted(), "t", "{}", log.text());
}

async fn assert_refused(tls: &Tls, host: &str, query: &str, reason: &str) {
    let (service, log) = tls.instance(&tls.url(host, query)).await;
    assert!(!is_up(&service).await);
    let logged = log.text();
    assert!(logged.contains("db-node-1") && logged.contains(reason), "{logged}");
    log.assert_free_of(&[SECRET]);
    assert_eq!(tls.encrypted(), "");
}

#[tokio::test]
async fn a_certificate_of_the_trusted_authority_for_the_address_is_accepted() {
    let authority = Authority::new();
    let tls = Tls::start(&authority, "127.0.0.1");
    assert_served(&tls, "127.0.0.1", &verify_full(&authority)).await;
}

#[tokio::test]
async fn a_certificate_of_the_trusted_authority_for_the_host_is_accepted() {
    let authority = Authority::new();
    let tls = Tls::start(&authority, "localhost");
    assert_served(&tls, "localhost", &verify_full(&authority)).await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let tls = Tls::start(&Authority::new(), "127.0.0.1");
    assert_refused(&tls, "127.0.0.1", &verify_full(&Authority::new()), "invalid peer certificate").await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let authority = Authority::new();
    let tls = Tls::start(&authority, "db.example.com");
    assert_refused(&tls, "127.0.0.1", &verify_full(&authority), "not valid for name").await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let tls = Tls::on(Postgres::start());
    assert_refused(&tls, "127.0.0.1", &verify_full(&Authority::new()), "does not support TLS").await;
}

#[tokio::test]
async fn a_url_that_requires_tls_accepts_any_certificate() {
    let tls = Tls::start(&Authority::new(), "db.example.com");
    assert_served(&tls, "127.0.0.1", "?sslmode=require").await;
}

#[tokio::test]
async fn a_url_without_sslmode_uses_tls_if_offered() {
    let tls = Tls::start(&Authority::new(), "db.example.com");
    assert_served(&tls, "127.0.0.1", "").await;
    let plain = Tls::on(Postgres::start());
    let (service, _) = plain.instance(&plain.url("127.0.0.1", "")).await;
    until("the shard is up", async || is_up(&service).await).await;
    assert_eq!(plain.encrypted(), "f");
}

#[tokio::test]
async fn a_remote_url_without_sslmode_is_warned_of_by_shard_id() {
    let tls = Tls::start(&Authority::new(), "127.0.0.1");
    // An address that does not answer (RFC 5737); the instance starts without the shard.
    let (_service, log) = tls.instance(&format!("postgres://postgres:{SECRET}@192.0.2.1/shard")).await;
    let logged = log.text();
    let warnings: Vec<&str> = logged.lines().filter(|line| line.contains("sslmode")).collect();
    assert!(matches!(warnings[..], [one] if one.contains("db-node-1") && one.contains("verify-full")), "{logged}");
    log.assert_free_of(&[SECRET, "192.0.2.1"]);
}
