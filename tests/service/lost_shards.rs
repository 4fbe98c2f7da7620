//! A shard that hangs or can't be reached: its own users are told so in time, others notice nothing, and it serves again by
//! itself. One whose process has ended is in `real_stores`.

use std::time::{Duration, Instant};

use super::{
    harness::{PASSWORD, Reply, Service, registration, until},
    real_stores::{Fleet, TOKEN, one_on_each},
};
use crate::servers::proxy::Proxy;

/// A fleet whose third shard is behind a line that can be cut, an instance of it, and the tokens of users on each shard.
struct Lost {
    fleet: Fleet,
    line: Proxy,
    service: Service,
    names: [String; 3],
    tokens: Vec<String>,
}

impl Lost {
    async fn start() -> Self {
        let mut fleet = Fleet::start();
        let line = Proxy::to(fleet.postgres[1].port());
        fleet.shards = fleet.shards.replace(&format!(":{}/", fleet.postgres[1].port()), &format!(":{}/", line.port()));
        let service = fleet.instance().await;
        let names = one_on_each(&service).await;
        let mut tokens = Vec::new();
        for name in &names {
            tokens.push(service.login(name).await);
        }
        Self { fleet, line, service, names, tokens }
    }

    async fn read(&self, shard: usize) -> u16 {
        self.service.get("/v1/users/me").bearer(&self.tokens[shard]).send().await.status.as_u16()
    }

    /// Asserts that every request of the third shard's users ends in 503 in time, and that others are served meanwhile.
    async fn assert_lost(&self) {
        for _ in 0..8 {
            let begun = Instant::now();
            let reply = self.service.get("/v1/users/me").bearer(&self.tokens[2]).send().await;
            reply.problem(503, "unavailable");
            assert!(begun.elapsed() < Duration::from_secs(2), "it took {:?}", begun.elapsed());
            assert!(!reply.header("retry-after").is_empty());
            assert_eq!((self.read(0).await, self.read(1).await), (200, 200));
        }
        self.service.try_login(&self.names[2], PASSWORD).await.problem(503, "unavailable");
        let ready = self.service.get("/v1/health/ready").send().await;
        assert_eq!((ready.status.as_u16(), &ready.json()["dependencies"][4]["up"]), (200, &false.into()));
    }

    async fn assert_back(&self) {
        until("the shard serves again", async || self.read(2).await == 200).await;
        self.service.login(&self.names[2]).await;
        let stats = self.service.get("/v1/operator/stats").bearer(TOKEN).send().await.json();
        assert_eq!(stats["circuits"]["db-node-2"], "closed");
    }
}

#[tokio::test]
async fn a_server_that_hangs_costs_its_own_users_only_and_comes_back_by_itself() {
    let lost = Lost::start().await;
    lost.fleet.postgres[1].pause();
    lost.assert_lost().await;
    lost.fleet.postgres[1].resume();
    lost.assert_back().await;
}

#[tokio::test]
async fn a_line_that_swallows_everything_costs_its_own_users_only_and_comes_back_by_itself() {
    let lost = Lost::start().await;
    lost.line.silence();
    lost.assert_lost().await;
    lost.line.mend();
    lost.assert_back().await;
}

#[tokio::test]
async fn a_line_that_breaks_costs_its_own_users_only_and_comes_back_by_itself() {
    let lost = Lost::start().await;
    lost.line.cut();
    lost.assert_lost().await;
    lost.line.mend();
    lost.assert_back().await;
}

/// Registers a user under a key of its own.
async fn register(service: &Service, name: &str) -> Reply {
    service.post("/v1/users", registration(name)).header("idempotency-key", name).send().await
}

#[tokio::test]
async fn a_registration_that_a_lost_shard_failed_is_repeated_as_soon_as_the_shard_is_back() {
    let lost = Lost::start().await;
    lost.line.cut();
    // From then on there is no connection on which a statement could have been sent.
    until("the circuit is open", async || {
        assert_eq!(lost.read(2).await, 503);
        let stats = lost.service.get("/v1/operator/stats").bearer(TOKEN).send().await.json();
        stats["circuits"]["db-node-2"] == "open"
    })
    .await;
    let mut failed = Vec::new();
    for number in 0.. {
        let name = format!("late-{number}");
        let placed = lost.service.get(&format!("/v1/operator/partitions/{name}")).bearer(TOKEN).send().await.json();
        if placed["node_id"] == "db-node-2" {
            continue;
        }
        // The id that it happens to get is what the lost shard has.
        let reply = register(&lost.service, &name).await;
        if reply.status == 503 {
            reply.problem(503, "unavailable");
            failed.push(name);
        }
        if failed.len() == 3 {
            break;
        }
    }
    lost.line.mend();
    lost.assert_back().await;
    for name in failed {
        let reply = register(&lost.service, &name).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        lost.service.login(&name).await;
    }
}

#[tokio::test]
async fn a_start_goes_on_without_a_shard_that_hangs() {
    let lost = Lost::start().await;
    lost.fleet.postgres[1].pause();
    let service = lost.fleet.instance().await;
    service.login(&lost.names[0]).await;
    service.try_login(&lost.names[2], PASSWORD).await.problem(503, "unavailable");
    lost.fleet.postgres[1].resume();
    until("the shard serves", async || service.try_login(&lost.names[2], PASSWORD).await.status == 200).await;
}

#[tokio::test]
async fn a_start_goes_on_without_a_catalog_that_hangs() {
    let lost = Lost::start().await;
    lost.fleet.postgres[1].database("catalog");
    let catalog = format!("postgres://postgres@127.0.0.1:{}/catalog", lost.line.port());
    // The third shard is on the same server, and reached directly.
    let shards = lost.fleet.shards.replace(&lost.line.port().to_string(), &lost.fleet.postgres[1].port().to_string());
    lost.line.silence();
    let redis = lost.fleet.redis.url();
    let settings = [
        ("SYMBOLON_SHARDS", shards.as_str()),
        ("SYMBOLON_CATALOG_URL", &catalog),
        ("SYMBOLON_REDIS_URL", &redis),
        ("SYMBOLON_OPERATOR_TOKEN", TOKEN),
    ];
    let service = Service::with(&settings).await;
    assert_eq!(service.session_status(&lost.tokens[0]).await, 200, "a session needs no shard");
    let ready = service.get("/v1/health/ready").send().await;
    let dependencies = ready.json()["dependencies"].clone();
    assert_eq!((ready.status.as_u16(), &dependencies[1]["name"]), (503, &"catalog".into()), "{dependencies}");
    assert_eq!(dependencies[1]["up"], false);
    lost.line.mend();
    until("it is ready", async || service.get("/v1/health/ready").send().await.status == 200).await;
}
