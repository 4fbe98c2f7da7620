//! The service on PostgreSQL shards and Redis.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::{
    servers::{
        postgres::Postgres,
        redis::{Redis, RedisCluster},
    },
    service::harness::{PASSWORD, Service, registration, until},
};

pub const TOKEN: &str = "operator-token-of-the-tests";

/// Three shards on two servers, and Redis.
pub struct Fleet {
    pub postgres: [Postgres; 2],
    pub redis: Redis,
    pub shards: String,
    /// A server for the catalog alone, and the catalog's URL.
    pub catalog: Option<(Postgres, String)>,
}

impl Fleet {
    pub fn start() -> Self {
        let postgres = [Postgres::start(), Postgres::start()];
        let shards = [(0, &postgres[0]), (1, &postgres[0]), (2, &postgres[1])]
            .map(|(shard, server)| format!("db-node-{shard}={}", server.database(&format!("shard{shard}"))));
        Self { redis: Redis::start(), shards: shards.join(","), postgres, catalog: None }
    }

    /// As [`Self::start`], the catalog not on the first shard.
    pub fn start_with_catalog() -> Self {
        let server = Postgres::start();
        let url = server.database("catalog");
        Self { catalog: Some((server, url)), ..Self::start() }
    }

    /// Does what a coordinator does: each shard goes to the next epoch, then the catalog says so.
    pub fn raise_epoch(&self) {
        for (server, database) in self.databases() {
            server.psql(database, "UPDATE shard SET epoch = epoch + 1").expect("a shard");
        }
        self.postgres[0].psql("shard0", "UPDATE topology SET epoch = epoch + 1").expect("a catalog");
    }

    /// Which shard is in which database.
    fn databases(&self) -> [(&Postgres, &'static str); 3] {
        [(&self.postgres[0], "shard0"), (&self.postgres[0], "shard1"), (&self.postgres[1], "shard2")]
    }

    /// How many rows a table has on all shards; none where it does not exist yet.
    pub fn count(&self, table: &str) -> usize {
        let count =
            |(server, database): (&Postgres, _)| server.psql(database, &format!("SELECT count(*) FROM {table}"));
        self.databases().into_iter().filter_map(|shard| count(shard).ok()?.parse::<usize>().ok()).sum()
    }

    /// Login names and user ids in a table on all shards.
    pub fn pairs(&self, table: &str) -> Vec<String> {
        let query = format!("SELECT login_name, user_id FROM {table} WHERE state = 'live'");
        let lines = self.databases().map(|(server, database)| server.psql(database, &query).expect("rows"));
        lines.iter().flat_map(|rows| rows.lines().map(str::to_owned)).collect()
    }

    pub async fn instance(&self) -> Service {
        self.instance_with(&[]).await
    }

    async fn instance_with_redis(&self, redis: &str) -> Service {
        self.instance_with(&[("SYMBOLON_REDIS_URL", redis)]).await
    }

    /// One that waits for its turn on however slow a machine.
    async fn patient_instance(&self) -> Service {
        self.instance_with(&[("SYMBOLON_SHARD_TIMEOUT", "20s")]).await
    }

    /// One on the fleet's Redis unless `settings` name another.
    pub async fn instance_with(&self, settings: &[(&str, &str)]) -> Service {
        let (redis, common) = (self.redis.url(), self.settings());
        Service::with(&[&[("SYMBOLON_REDIS_URL", redis.as_str())], common.as_slice(), settings].concat()).await
    }

    /// One with its log in a file.
    pub async fn instance_logging_to(&self, log: &Path, settings: &[(&str, &str)]) -> Service {
        let (redis, common) = (self.redis.url(), self.settings());
        let common = [&[("SYMBOLON_REDIS_URL", redis.as_str())], common.as_slice(), settings].concat();
        Service::logging_to(log, &common).await
    }

    /// What all its instances are set to, but for Redis.
    fn settings(&self) -> Vec<(&str, &str)> {
        let common = [
            ("SYMBOLON_SHARDS", self.shards.as_str()),
            ("SYMBOLON_OPERATOR_TOKEN", TOKEN),
            ("SYMBOLON_THROTTLE_ADDRESS", "10000/15m"),
            ("SYMBOLON_THROTTLE_REGISTRATIONS", "10000/1h"),
        ];
        let catalog = self.catalog.as_ref().map(|(_, url)| ("SYMBOLON_CATALOG_URL", url.as_str()));
        common.into_iter().chain(catalog).collect()
    }
}

/// Registers users until each shard holds one; returns their names by shard.
pub async fn one_on_each(service: &Service) -> [String; 3] {
    let mut found = [const { None }; 3];
    for number in 0.. {
        let name = format!("user-{number}");
        let reply = service.post("/v1/users", registration(&name)).send().await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        // A login takes the name's shard and the user's: the same one here.
        let path = format!("/v1/operator/partitions/{name}");
        let placed = service.get(&path).bearer(TOKEN).send().await.json();
        if placed["node_id"] == reply.json()["partition"]["node_id"] {
            let shard = placed["node_id"].as_str().and_then(|id| id.strip_prefix("db-node-")).expect("a shard");
            found[shard.parse::<usize>().expect("a number")] = Some(name);
        }
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.map(|name| name.expect("a name"))
}

#[tokio::test]
async fn a_session_is_shared_and_a_logout_is_refused_at_once_elsewhere() {
    let fleet = Fleet::start();
    let (first, second) = (fleet.instance().await, fleet.instance().await);
    let token = first.member("ada").await;
    let patched =
        first.patch("/v1/users/me/preferences", json!({"theme": "dark", "list": []})).bearer(&token).send().await;
    assert_eq!(patched.status, 200, "{}", patched.text);
    let session = second.get("/v1/session").bearer(&token).send().await.json();
    assert_eq!(session["preferences"], json!({"theme": "dark", "list": []}));
    assert_eq!(second.get("/v1/users/me").bearer(&token).send().await.json()["preferences"], session["preferences"]);
    for _ in 0..50 {
        let token = first.login("ada").await;
        assert_eq!(second.session_status(&token).await, 200);
        assert_eq!(first.request(Method::POST, "/v1/logout").bearer(&token).send().await.status, 204);
        assert_eq!(second.session_status(&token).await, 401);
    }
}

#[tokio::test]
async fn lookups_and_their_batches_are_counted_by_shard() {
    let fleet = Fleet::start();
    let service = fleet.instance().await;
    let token = service.member("ada").await;
    assert_eq!(service.get("/v1/users/me").bearer(&token).send().await.status, 200);
    let stats = service.get("/v1/operator/stats").bearer(TOKEN).send().await.json();
    let shards = stats["batching"].as_object().expect("an object");
    for kind in ["users", "names"] {
        let sum = |field: &str| shards.values().filter_map(|shard| shard[kind][field].as_u64()).sum::<u64>();
        assert!(sum("lookups") >= 1 && sum("batches") >= 1 && sum("keys") >= 1, "{stats}");
        assert_eq!((sum("in_flight"), sum("waiting")), (0, 0), "{stats}");
    }
    let metrics = service.get("/metrics").bearer(TOKEN).send().await.text;
    for name in ["lookups_total", "lookup_batches_total", "lookup_batch_keys_total", "lookup_wait_seconds_total"] {
        let line = format!(r#"symbolon_shard_{name}{{shard="db-node-0",kind="user"}} "#);
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn sessions_live_in_a_redis_cluster_alike() {
    let (fleet, cluster) = (Fleet::start(), RedisCluster::start());
    let (first, second) =
        (fleet.instance_with_redis(&cluster.url()).await, fleet.instance_with_redis(&cluster.url()).await);
    for user in 0..10 {
        let token = first.member(&format!("user-{user}")).await;
        assert_eq!(second.session_status(&token).await, 200);
        assert_eq!(first.request(Method::POST, "/v1/logout").bearer(&token).send().await.status, 204);
        assert_eq!(second.session_status(&token).await, 401);
    }
    let stats = second.get("/v1/operator/stats").bearer(TOKEN).send().await.json();
    assert_eq!(stats["session_management"]["total_sessions"], 0);
    let balancer = second.get("/v1/operator/balancer").bearer(TOKEN).send().await.json();
    assert_eq!(balancer["total_nodes"], 2);
}

#[tokio::test]
async fn of_racing_registrations_over_three_instances_one_succeeds() {
    let fleet = Fleet::start();
    let instances = [fleet.patient_instance().await, fleet.patient_instance().await, fleet.patient_instance().await];
    let racers = (0..200).map(|racer| instances[racer % 3].post("/v1/users", registration("ada")).send());
    let statuses: Vec<u16> = join_all(racers).await.iter().map(|reply| reply.status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    // A name is pending until the winner's user is there.
    assert!(statuses.iter().all(|status| [201, 409, 503].contains(status)), "{statuses:?}");
    instances[1].login("ada").await;
}

#[tokio::test]
async fn patches_from_two_instances_are_all_there() {
    let fleet = Fleet::start();
    let (first, second) = (fleet.instance().await, fleet.instance().await);
    let token = first.member("ada").await;
    let patches = (0..60).map(|field| {
        let service = if field % 2 == 0 { &first } else { &second };
        service.patch("/v1/users/me/preferences", json!({format!("field-{field}"): field})).bearer(&token).send()
    });
    assert!(join_all(patches).await.iter().all(|reply| reply.status == 200));
    let document = second.get("/v1/users/me/preferences").bearer(&token).send().await.json();
    assert_eq!(document.as_object().expect("an object").len(), 60);
}

#[tokio::test]
async fn a_dead_shard_costs_its_own_users_only_and_comes_back_by_itself() {
    let mut fleet = Fleet::start();
    let service = fleet.instance().await;
    let names = one_on_each(&service).await;
    fleet.postgres[1].kill();
    let begun = Instant::now();
    let dead = service.try_login(&names[2], PASSWORD).await;
    dead.problem(503, "unavailable");
    assert!(begun.elapsed() < Duration::from_secs(2), "it took {:?}", begun.elapsed());
    assert!(!dead.header("retry-after").is_empty());
    service.login(&names[0]).await;
    service.login(&names[1]).await;
    let ready = service.get("/v1/health/ready").send().await;
    assert_eq!(ready.status, 200, "{}", ready.text);
    assert_eq!(ready.json()["dependencies"][4], json!({"name": "db-node-2", "up": false, "required": false}));
    let circuit = async || {
        let stats = service.get("/v1/operator/stats").bearer(TOKEN).send().await.json();
        stats["circuits"]["db-node-2"].as_str().expect("a state").to_owned()
    };
    until("the breaker opens", async || {
        service.try_login(&names[2], PASSWORD).await.problem(503, "unavailable");
        circuit().await == "open"
    })
    .await;
    fleet.postgres[1].start_again();
    until("the shard serves again", async || service.try_login(&names[2], PASSWORD).await.status == 200).await;
    until("the breaker closes", async || circuit().await == "closed").await;
}

#[tokio::test]
async fn a_shard_that_is_down_at_start_is_used_once_it_is_back() {
    let mut fleet = Fleet::start();
    let names = one_on_each(&fleet.instance().await).await;
    fleet.postgres[1].kill();
    let service = fleet.instance().await;
    service.login(&names[0]).await;
    service.try_login(&names[2], PASSWORD).await.problem(503, "unavailable");
    fleet.postgres[1].start_again();
    until("the shard serves", async || service.try_login(&names[2], PASSWORD).await.status == 200).await;
}

#[tokio::test]
async fn without_redis_the_answer_is_a_prompt_503_and_service_comes_back_by_itself() {
    let mut fleet = Fleet::start();
    let service = fleet.instance().await;
    let token = service.member("ada").await;
    fleet.redis.kill();
    service.get("/v1/session").bearer(&token).send().await.problem(503, "unavailable");
    let begun = Instant::now();
    let reply = service.get("/v1/session").bearer(&token).send().await;
    reply.problem(503, "unavailable");
    assert!(begun.elapsed() < Duration::from_secs(2), "it took {:?}", begun.elapsed());
    let ready = service.get("/v1/health/ready").send().await;
    assert_eq!((ready.status.as_u16(), &ready.json()["degraded"]), (200, &true.into()), "{}", ready.text);
    assert_eq!(service.get("/v1/health/live").send().await.status, 200);
    fleet.redis.start_again();
    until("the session is known again", async || service.session_status(&token).await == 200).await;
}

#[tokio::test]
async fn a_redis_that_lost_its_scripts_is_given_them_again() {
    let fleet = Fleet::start();
    let service = fleet.instance().await;
    let token = service.member("ada").await;
    fleet.redis.command(&["script", "flush"]);
    assert_eq!(service.session_status(&token).await, 200);
}

#[tokio::test]
async fn shards_that_are_swapped_or_renamed_stop_the_start() {
    let fleet = Fleet::start();
    drop(fleet.instance().await);
    let swapped =
        fleet.shards.replace("db-node-0=", "x=").replace("db-node-1=", "db-node-0=").replace("x=", "db-node-1=");
    let renamed = fleet.shards.replace("db-node-2=", "db-node-9=");
    let catalog = fleet.shards.split(',').next().and_then(|shard| shard.split_once('=')).expect("a shard").1.to_owned();
    for shards in [swapped, renamed] {
        let environment = [
            ("SYMBOLON_SHARDS", shards.as_str()),
            ("SYMBOLON_CATALOG_URL", &catalog),
            ("SYMBOLON_LISTEN", "127.0.0.1:0"),
        ];
        let (code, _, err) = super::harness::run(&[], &environment, b"").await;
        assert!(code == 1 && err.contains("shards"), "{err}");
    }
}

#[tokio::test]
async fn nothing_secret_is_kept_in_redis() {
    let fleet = Fleet::start();
    let service = fleet.instance().await;
    let token = service.member("ada").await;
    let keys = fleet.redis.command(&["--no-raw", "keys", "*"]);
    let mut held = keys.clone();
    for key in keys.lines().filter_map(|line| line.split('"').nth(1)) {
        held += &fleet.redis.command(&["dump", key]);
    }
    assert!(held.contains("symbolon:"), "{held}");
    for secret in [&token[4..], &token[26..60], PASSWORD, "argon2"] {
        assert!(!held.contains(secret), "{secret} is in Redis");
    }
}

#[tokio::test]
async fn nothing_secret_is_logged_at_any_level() {
    let fleet = Fleet::start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("log");
    let redis = fleet.redis.url();
    let settings = [
        ("SYMBOLON_SHARDS", fleet.shards.as_str()),
        ("SYMBOLON_REDIS_URL", &redis),
        ("SYMBOLON_OPERATOR_TOKEN", TOKEN),
        ("SYMBOLON_LOG", "trace"),
    ];
    let mut service = Service::logging_to(&log, &settings).await;
    let user_id = service.register("ada").await;
    let token = service.login("ada").await;
    let reset = service.request(Method::POST, &format!("/v1/operator/users/{user_id}/password-reset")).bearer(TOKEN);
    let reset = reset.send().await.json()["token"].as_str().expect("a token").to_owned();
    service.get("/v1/users/me").bearer(&token).send().await;
    let new = "staple battery horse";
    let change = json!({"token": reset, "new_password": new});
    assert_eq!(service.post("/v1/password-reset", change).send().await.status, 204);
    service.try_login("ada", "a wrong password").await.problem(401, "invalid-credentials");
    service
        .request(Method::POST, "/v1/login")
        .raw("application/json", r#"{"login_name": "ada", "password": 7}"#)
        .send()
        .await;
    assert!(service.terminate().await);
    let logged = std::fs::read_to_string(&log).expect("a log");
    assert!(logged.contains("TRACE") && logged.contains("/v1/users/{user_id}"), "it is a log at trace level");
    for secret in [&token, &token[4..], &reset, &reset[5..], PASSWORD, new, "a wrong password", "argon2id$", TOKEN] {
        let found = logged.lines().find(|line| line.contains(secret));
        assert!(found.is_none(), "{secret} is logged: {found:?}");
    }
}
