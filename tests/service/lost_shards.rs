//! Shards that hang or cannot be reached. A shard whose process has ended is in `postgres_redis`.

use std::time::{Duration, Instant};

use crate::support::{
    Fleet, PASSWORD, Reply, Service, fleet::user_on_each_shard, registration, servers::proxy::Proxy, until,
};

/// How soon a 503 must come on a busy machine.
const PROMPT: Duration = Duration::from_secs(2);

/// A fleet whose third shard is behind a proxy, an instance of it, and a user on each shard.
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
        fleet.reroute_third_shard(line.port());
        let service = fleet.instance().await;
        let names = user_on_each_shard(&service).await;
        let mut tokens = Vec::new();
        for name in &names {
            tokens.push(service.login(name).await);
        }
        Self { fleet, line, service, names, tokens }
    }

    async fn read(&self, shard: usize) -> u16 {
        self.service.get("/v1/users/me").bearer(&self.tokens[shard]).send().await.status.as_u16()
    }

    /// Asserts that requests of the third shard's users are answered with 503 in time, and others are served.
    async fn assert_lost(&self) {
        for _ in 0..8 {
            let begun = Instant::now();
            let reply = self.service.get("/v1/users/me").bearer(&self.tokens[2]).send().await;
            reply.problem(503, "unavailable");
            assert!(begun.elapsed() < PROMPT, "it took {:?}", begun.elapsed());
            assert!(reply.retry_after() >= 1);
            assert_eq!((self.read(0).await, self.read(1).await), (200, 200));
        }
        self.service.try_login(&self.names[2], PASSWORD).await.problem(503, "unavailable");
        let ready = self.service.get("/v1/health/ready").send().await;
        assert_eq!((ready.status.as_u16(), &ready.json()["dependencies"][4]["up"]), (200, &false.into()));
    }

    async fn assert_back(&self) {
        until("the shard serves again", async || self.read(2).await == 200).await;
        self.service.login(&self.names[2]).await;
        let stats = self.service.operator_view("/stats").await;
        assert_eq!(stats["circuits"]["db-node-2"], "closed");
    }
}

#[tokio::test]
async fn a_hanging_shard_affects_only_its_own_users_until_it_resumes() {
    let lost = Lost::start().await;
    lost.fleet.postgres[1].pause();
    lost.assert_lost().await;
    lost.fleet.postgres[1].resume();
    lost.assert_back().await;
}

#[tokio::test]
async fn an_unresponsive_network_affects_only_the_users_of_its_shard() {
    let lost = Lost::start().await;
    lost.line.silence();
    lost.assert_lost().await;
    lost.line.mend();
    lost.assert_back().await;
}

#[tokio::test]
async fn a_broken_network_affects_only_the_users_of_its_shard() {
    let lost = Lost::start().await;
    lost.line.cut();
    lost.assert_lost().await;
    lost.line.mend();
    lost.assert_back().await;
}

/// Registers a user with an idempotency key of its own.
async fn register(service: &Service, name: &str) -> Reply {
    service.post("/v1/users", registration(name)).header("idempotency-key", name).send().await
}

#[tokio::test]
async fn a_registration_failed_by_a_lost_shard_succeeds_when_repeated() {
    let lost = Lost::start().await;
    lost.line.cut();
    // With an open circuit no statement is sent.
    until("the circuit is open", async || {
        assert_eq!(lost.read(2).await, 503);
        let stats = lost.service.operator_view("/stats").await;
        stats["circuits"]["db-node-2"] == "open"
    })
    .await;
    let mut failed = Vec::new();
    for number in 0.. {
        let name = format!("late-{number}");
        let placed = lost.service.operator_view(&format!("/partitions/{name}")).await;
        if placed["node_id"] == "db-node-2" {
            continue;
        }
        // Whether the user's id is on the lost shard is random.
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
async fn an_instance_starts_without_a_hanging_shard() {
    let lost = Lost::start().await;
    lost.fleet.postgres[1].pause();
    let service = lost.fleet.instance().await;
    service.login(&lost.names[0]).await;
    service.try_login(&lost.names[2], PASSWORD).await.problem(503, "unavailable");
    lost.fleet.postgres[1].resume();
    until("the shard serves again", async || service.try_login(&lost.names[2], PASSWORD).await.status == 200).await;
}

#[tokio::test]
async fn an_instance_starts_without_a_hanging_catalog() {
    let lost = Lost::start().await;
    lost.fleet.postgres[1].database("catalog");
    let catalog = format!("postgres://postgres@127.0.0.1:{}/catalog", lost.line.port());
    // The third shard is on the same server, and is reached without the proxy.
    let shards = lost.fleet.shards.replace(&lost.line.port().to_string(), &lost.fleet.postgres[1].port().to_string());
    lost.line.silence();
    let redis = lost.fleet.redis.url();
    let settings =
        [("SYMBOLON_SHARDS", shards.as_str()), ("SYMBOLON_CATALOG_URL", &catalog), ("SYMBOLON_REDIS_URL", &redis)];
    let service = Service::with(&settings).await;
    assert_eq!(service.session_status(&lost.tokens[0]).await, 200, "a session was refused");
    let ready = service.get("/v1/health/ready").send().await;
    let dependencies = ready.json()["dependencies"].clone();
    assert_eq!((ready.status.as_u16(), &dependencies[1]["name"]), (503, &"catalog".into()), "{dependencies}");
    assert_eq!(dependencies[1]["up"], false);
    lost.line.mend();
    service.until_ready().await;
}
