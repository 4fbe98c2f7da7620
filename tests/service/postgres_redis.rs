//! The service on PostgreSQL shards and Redis.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::support::{
    Fleet, LogFile, NEW_PASSWORD, OPERATOR_TOKEN, PASSWORD, fleet::user_on_each_shard, registration, run,
    servers::redis::RedisCluster, until,
};

/// How soon a 503 must come on a busy machine.
const PROMPT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn sessions_and_logouts_hold_on_every_instance_at_once() {
    let fleet = Fleet::start();
    let (first, second) = (fleet.instance().await, fleet.instance().await);
    let token = first.register_and_login("ada").await;
    let patched =
        first.patch("/v1/users/me/preferences", json!({"theme": "dark", "list": []})).bearer(&token).send().await;
    assert_eq!(patched.status, 200, "{}", patched.text);
    let session = second.get("/v1/session").bearer(&token).send().await.json();
    assert_eq!(session["preferences"], json!({"theme": "dark", "list": []}));
    assert_eq!(second.get("/v1/users/me").bearer(&token).send().await.json()["preferences"], session["preferences"]);
    for _ in 0..50 {
        let token = first.login("ada").await;
        assert_eq!(second.session_status(&token).await, 200);
        assert_eq!(first.log_out(&token).await.status, 204);
        assert_eq!(second.session_status(&token).await, 401);
    }
}

#[tokio::test]
async fn lookups_and_their_batches_are_counted_by_shard() {
    let fleet = Fleet::start();
    let service = fleet.instance().await;
    let token = service.register_and_login("ada").await;
    assert_eq!(service.get("/v1/users/me").bearer(&token).send().await.status, 200);
    let stats = service.operator_view("/stats").await;
    let shards = stats["batching"].as_object().expect("an object");
    for kind in ["users", "names"] {
        let sum = |field: &str| shards.values().filter_map(|shard| shard[kind][field].as_u64()).sum::<u64>();
        assert!(sum("lookups") >= 1 && sum("batches") >= 1 && sum("keys") >= 1, "{stats}");
        assert_eq!((sum("in_flight"), sum("waiting")), (0, 0), "{stats}");
    }
    let metrics = service.get("/metrics").bearer(OPERATOR_TOKEN).send().await.text;
    for name in ["lookups_total", "lookup_batches_total", "lookup_batch_keys_total", "lookup_wait_seconds_total"] {
        let line = format!(r#"symbolon_shard_{name}{{shard="db-node-0",kind="user"}} "#);
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn sessions_are_stored_in_a_redis_cluster() {
    let (fleet, cluster) = (Fleet::start(), RedisCluster::start());
    let url = cluster.url();
    let on_cluster = async || fleet.instance_with(&[("SYMBOLON_REDIS_URL", &url)]).await;
    let (first, second) = (on_cluster().await, on_cluster().await);
    for user in 0..10 {
        let token = first.register_and_login(&format!("user-{user}")).await;
        assert_eq!(second.session_status(&token).await, 200);
        assert_eq!(first.log_out(&token).await.status, 204);
        assert_eq!(second.session_status(&token).await, 401);
    }
    let stats = second.operator_view("/stats").await;
    assert_eq!(stats["session_management"]["total_sessions"], 0);
    let balancer = second.operator_view("/balancer").await;
    assert_eq!(balancer["total_nodes"], 2);
}

#[tokio::test]
async fn one_of_200_concurrent_registrations_on_three_instances_succeeds() {
    let fleet = Fleet::start();
    // So many registrations take a slow machine longer than the default timeout of shards.
    let instance = async || fleet.instance_with(&[("SYMBOLON_SHARD_TIMEOUT", "20s")]).await;
    let instances = [instance().await, instance().await, instance().await];
    let racers = (0..200).map(|racer| instances[racer % 3].post("/v1/users", registration("ada")).send());
    let replies = join_all(racers).await;
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        reply.assert_name_refused();
    }
    instances[1].login("ada").await;
}

#[tokio::test]
async fn concurrent_patches_from_two_instances_of_a_fleet_are_all_applied() {
    let fleet = Fleet::start();
    let (first, second) = (fleet.instance().await, fleet.instance().await);
    let token = first.register_and_login("ada").await;
    let patches = (0..60).map(|field| {
        let service = if field % 2 == 0 { &first } else { &second };
        service.patch("/v1/users/me/preferences", json!({format!("field-{field}"): field})).bearer(&token).send()
    });
    assert!(join_all(patches).await.iter().all(|reply| reply.status == 200));
    let document = second.get("/v1/users/me/preferences").bearer(&token).send().await.json();
    assert_eq!(document.as_object().expect("an object").len(), 60);
}

#[tokio::test]
async fn a_dead_shard_affects_only_its_own_users_until_it_restarts() {
    let mut fleet = Fleet::start();
    let service = fleet.instance().await;
    let names = user_on_each_shard(&service).await;
    fleet.postgres[1].kill();
    let begun = Instant::now();
    let dead = service.try_login(&names[2], PASSWORD).await;
    dead.problem(503, "unavailable");
    assert!(begun.elapsed() < PROMPT, "it took {:?}", begun.elapsed());
    assert!(dead.retry_after() >= 1);
    service.login(&names[0]).await;
    service.login(&names[1]).await;
    let ready = service.get("/v1/health/ready").send().await;
    assert_eq!(ready.status, 200, "{}", ready.text);
    assert_eq!(ready.json()["dependencies"][4], json!({"name": "db-node-2", "up": false, "required": false}));
    let circuit =
        async || service.operator_view("/stats").await["circuits"]["db-node-2"].as_str().expect("a state").to_owned();
    until("the circuit opens", async || {
        service.try_login(&names[2], PASSWORD).await.problem(503, "unavailable");
        circuit().await == "open"
    })
    .await;
    fleet.postgres[1].start_again();
    until("the shard serves again", async || service.try_login(&names[2], PASSWORD).await.status == 200).await;
    until("the circuit closes", async || circuit().await == "closed").await;
}

#[tokio::test]
async fn a_shard_that_is_down_at_start_is_used_once_it_is_back() {
    let mut fleet = Fleet::start();
    let names = user_on_each_shard(&fleet.instance().await).await;
    fleet.postgres[1].kill();
    let service = fleet.instance().await;
    service.login(&names[0]).await;
    service.try_login(&names[2], PASSWORD).await.problem(503, "unavailable");
    fleet.postgres[1].start_again();
    until("the shard serves again", async || service.try_login(&names[2], PASSWORD).await.status == 200).await;
}

#[tokio::test]
async fn a_dead_redis_gives_a_prompt_503_until_it_restarts() {
    let mut fleet = Fleet::start();
    let service = fleet.instance().await;
    let token = service.register_and_login("ada").await;
    fleet.redis.kill();
    service.get("/v1/session").bearer(&token).send().await.problem(503, "unavailable");
    let begun = Instant::now();
    let reply = service.get("/v1/session").bearer(&token).send().await;
    reply.problem(503, "unavailable");
    assert!(begun.elapsed() < PROMPT, "it took {:?}", begun.elapsed());
    let ready = service.get("/v1/health/ready").send().await;
    assert_eq!((ready.status.as_u16(), &ready.json()["degraded"]), (200, &true.into()), "{}", ready.text);
    assert_eq!(service.get("/v1/health/live").send().await.status, 200);
    fleet.redis.start_again();
    until("the session is known again", async || service.session_status(&token).await == 200).await;
}

#[tokio::test]
async fn flushed_scripts_are_loaded_again() {
    let fleet = Fleet::start();
    let service = fleet.instance().await;
    let token = service.register_and_login("ada").await;
    fleet.redis.command(&["script", "flush"]);
    assert_eq!(service.session_status(&token).await, 200);
}

#[tokio::test]
async fn swapped_or_renamed_shards_stop_the_start() {
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
        let (code, _, err) = run(&[], &environment, b"").await;
        assert!(code == 1 && err.contains("shards"), "{err}");
    }
}

#[tokio::test]
async fn no_secret_is_stored_in_redis() {
    let fleet = Fleet::start();
    let service = fleet.instance().await;
    let token = service.register_and_login("ada").await;
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
async fn no_secret_is_logged_at_any_level() {
    let fleet = Fleet::start();
    let log = LogFile::new();
    let mut service = fleet.instance_logging_to(&log, &[("SYMBOLON_LOG", "trace")]).await;
    let user_id = service.register("ada").await;
    let token = service.login("ada").await;
    let reset =
        service.operator(Method::POST, &format!("/users/{user_id}/password-reset")).send().await.string("token");
    service.get("/v1/users/me").bearer(&token).send().await;
    let change = json!({"token": reset, "new_password": NEW_PASSWORD});
    assert_eq!(service.post("/v1/password-reset", change).send().await.status, 204);
    service.try_login("ada", "a wrong password").await.problem(401, "invalid-credentials");
    service
        .request(Method::POST, "/v1/login")
        .raw("application/json", r#"{"login_name": "ada", "password": 7}"#)
        .send()
        .await;
    assert!(service.terminate().await);
    let logged = log.text();
    assert!(logged.contains("TRACE") && logged.contains("/v1/users/{user_id}"), "the log is not at trace level");
    log.assert_free_of(&[
        &token,
        &token[4..],
        &reset,
        &reset[5..],
        PASSWORD,
        NEW_PASSWORD,
        "a wrong password",
        "argon2id$",
    ]);
    log.assert_free_of(&[OPERATOR_TOKEN]);
}
