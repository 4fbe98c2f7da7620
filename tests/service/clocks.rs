//! Instances whose clocks are wrong.

use std::time::Duration;

use symbolon::{clock::Timestamp, fleet::leader::LEASE};

use crate::support::{
    LogFile, PASSWORD, Service, holds_for,
    servers::{
        installed,
        redis::{Redis, RedisCluster},
    },
    temporary_directory,
    trio::balancer,
    until,
};

/// The ids of the instances, and how far their clocks are off.
const OFFSETS: [(&str, &str); 4] = [("right", "+0"), ("ahead", "+5s"), ("far-ahead", "+3600s"), ("behind", "-3600s")];

/// How much an instance may differ from the clock of Redis: less than any of the clocks does.
const NEAR: Duration = Duration::from_secs(2);

/// The library that gives a process a wrong clock.
fn clock_library() -> String {
    let directories = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let candidates = directories.map(|directory| directory.path().join("faketime/libfaketimeMT.so.1"));
    installed("libfaketime", candidates).display().to_string()
}

/// Instances on one Redis, one for each of [`OFFSETS`].
async fn fleet_on(redis: &Redis, settings: &[(&str, &str)]) -> Vec<Service> {
    let (url, library) = (redis.url(), clock_library());
    let mut fleet = Vec::<Service>::new();
    for (id, offset) in OFFSETS {
        let own = [
            ("SYMBOLON_INSTANCE_ID", id),
            ("SYMBOLON_REDIS_URL", url.as_str()),
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME", offset),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        let settings = [own.as_slice(), settings].concat();
        fleet.push(match fleet.first() {
            None => Service::with(&settings).await,
            Some(first) => first.another_with(&settings).await,
        });
    }
    fleet
}

/// The time of Redis' clock.
fn time_of(redis: &Redis) -> Timestamp {
    let answer = redis.command(&["time"]);
    let seconds: i64 = answer.lines().next().and_then(|line| line.trim().parse().ok()).expect("seconds");
    Timestamp::from_millis(seconds * 1000)
}

fn moment(value: &serde_json::Value) -> Timestamp {
    serde_json::from_value(value.clone()).expect("a moment")
}

fn is_near(one: Timestamp, other: Timestamp) -> bool {
    one.since(other).max(other.since(one)) < NEAR
}

/// How many seconds the clock of an instance is ahead, by its own metric.
async fn difference(instance: &Service) -> f64 {
    instance.metric("symbolon_clock_difference_seconds").await
}

#[tokio::test]
async fn instances_with_different_clocks_form_one_fleet_with_one_leader() {
    let redis = Redis::start();
    let fleet = fleet_on(&redis, &[]).await;
    until("all instances list all, and the same leader", async || {
        let first = balancer(&fleet[0]).await["leader"].clone();
        let mut agree = first.is_string();
        for instance in &fleet {
            let stats = balancer(instance).await;
            agree &= stats["healthy_nodes"] == fleet.len() && stats["leader"] == first;
        }
        agree
    })
    .await;
    holds_for(2 * LEASE, "all instances are healthy, and at most one leads", async || {
        let (mut leaders, mut complete) = (0.0, true);
        for instance in &fleet {
            leaders += instance.metric("symbolon_leader").await;
            complete &= balancer(instance).await["healthy_nodes"] == fleet.len();
        }
        complete && leaders <= 1.0
    })
    .await;
    for (instance, (id, offset)) in fleet.iter().zip(OFFSETS) {
        instance.register_and_login(&format!("user-of-{id}")).await;
        let expected: f64 = offset.trim_end_matches('s').parse().expect("seconds");
        let difference = difference(instance).await;
        assert!((difference - expected).abs() < NEAR.as_secs_f64(), "{id}: {difference}");
    }
}

#[tokio::test]
async fn sessions_follow_the_clock_of_redis() {
    const LIFETIME: Duration = Duration::from_secs(20);
    let redis = Redis::start();
    let settings = [("SYMBOLON_SESSION_IDLE_TIMEOUT", "20s"), ("SYMBOLON_SESSION_LIFETIME", "20s")];
    let fleet = fleet_on(&redis, &settings).await;
    fleet[0].register("ada").await;
    let mut tokens = Vec::new();
    for ((id, _), maker) in OFFSETS.iter().zip(&fleet) {
        let token = maker.login("ada").await;
        for ((viewer_id, _), viewer) in OFFSETS.iter().zip(&fleet) {
            let reply = viewer.get("/v1/session").bearer(&token).send().await;
            assert_eq!(reply.status, 200, "made by {id}, at {viewer_id}: {}", reply.text);
            let sessions = viewer.get("/v1/sessions").bearer(&token).send().await.json();
            let sessions = sessions["sessions"].as_array().expect("a list").clone();
            assert_eq!(sessions.len(), tokens.len() + 1, "made by {id}, at {viewer_id}: {sessions:?}");
            let newest = sessions.last().expect("a session");
            let (created, now) = (moment(&newest["created_at"]), time_of(&redis));
            assert!(now.since(created) < LIFETIME && created.since(now) < NEAR, "made by {id}: {newest}");
            assert!(is_near(moment(&newest["expires_at"]), created + LIFETIME), "made by {id}: {newest}");
        }
        tokens.push(token);
    }
    let last_made = time_of(&redis);
    until("the sessions have expired by the clock of Redis", async || time_of(&redis) > last_made + LIFETIME + NEAR)
        .await;
    for token in &tokens {
        for instance in &fleet {
            assert_eq!(instance.session_status(token).await, 401);
        }
    }
}

#[tokio::test]
async fn throttling_is_independent_of_the_instances_clocks() {
    let redis = Redis::start();
    // One attempt is refilled every two seconds.
    let fleet = fleet_on(&redis, &[("SYMBOLON_THROTTLE_NAME_ADDRESS", "30/60s")]).await;
    fleet[0].register("ada").await;
    let (mut accepted, begun) = (0_u32, Timestamp::now());
    let refused = loop {
        let mut refused = Vec::new();
        for ((id, _), instance) in OFFSETS.iter().zip(&fleet) {
            let reply = instance.try_login("ada", "a wrong password").await;
            match reply.status.as_u16() {
                401 => accepted += 1,
                429 => refused.push((id, reply.retry_after())),
                status => panic!("{status} at {id}: {}", reply.text),
            }
        }
        if refused.len() == fleet.len() {
            break refused;
        }
        assert!(accepted < 200, "{accepted} were accepted");
    };
    let refilled = Timestamp::now().since(begun).as_secs() as u32 / 2 + 1;
    assert!((30..=30 + refilled).contains(&accepted), "{accepted} were accepted, at most {refilled} of them refilled");
    assert!(refused.iter().all(|(_, wait)| *wait <= 3), "{refused:?}");
    for ((id, _), instance) in OFFSETS.iter().zip(&fleet) {
        // The charge of a right password is refunded.
        until(id, async || instance.try_login("ada", PASSWORD).await.status == 200).await;
    }
}

#[tokio::test]
async fn instances_follow_the_clock_of_a_cluster_node() {
    let (cluster, library) = (RedisCluster::start(), clock_library());
    let url = cluster.url();
    let common = [("SYMBOLON_REDIS_URL", url.as_str())];
    let wrong = [("LD_PRELOAD", library.as_str()), ("FAKETIME", "-3600s"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    let right = Service::with(&common).await;
    let behind = right.another_with(&[common.as_slice(), &wrong].concat()).await;
    behind.until_ready().await;
    assert!((difference(&behind).await + 3600.0).abs() < NEAR.as_secs_f64());
    right.register("ada").await;
    let token = behind.login("ada").await;
    let session = right.get("/v1/session").bearer(&token).send().await.json();
    assert!(is_near(moment(&session["created_at"]), Timestamp::now()), "{session}");
}

#[tokio::test]
async fn a_clock_set_back_changes_no_session_and_is_reported() {
    let (redis, directory, library) = (Redis::start(), temporary_directory(), clock_library());
    let (url, log) = (redis.url(), LogFile::new());
    let offset_file = directory.path().join("offset").display().to_string();
    let set = |offset: &str| {
        // The library may read the file at any time, so it is replaced atomically.
        let draft = directory.path().join("draft");
        std::fs::write(&draft, offset).and_then(|()| std::fs::rename(draft, &offset_file)).expect("a file");
    };
    set("+0");
    let settings = [
        ("SYMBOLON_LOG", "warn"),
        ("SYMBOLON_REDIS_URL", url.as_str()),
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", offset_file.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let instance = Service::logging_to(&log, &settings).await;
    let token = instance.register_and_login("ada").await;
    let warnings = || log.text().matches("clock differs").count();
    assert_eq!(warnings(), 0);
    set("-3600s");
    let before = instance.get("/v1/session").bearer(&token).send().await.json();
    let token = instance.login("ada").await;
    let after = instance.get("/v1/session").bearer(&token).send().await.json();
    let [before, after] = [before, after].map(|session| moment(&session["created_at"]));
    assert!(after >= before && is_near(after, time_of(&redis)), "{before:?}, {after:?}");
    until("the metric shows the difference", async || {
        (difference(&instance).await + 3600.0).abs() < NEAR.as_secs_f64()
    })
    .await;
    until("the difference is logged", async || warnings() == 1).await;
}
