//! A gateway that starts its instances itself.

use std::collections::BTreeSet;

use reqwest::Method;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::support::{
    GENERATED_OPERATOR_TOKEN, LogFile, Service,
    process::{has_ended, signal},
    until,
};

async fn spawning(count: &str) -> Service {
    spawning_with(count, &[]).await
}

async fn spawning_with(count: &str, settings: &[(&str, &str)]) -> Service {
    let gateway = Service::gateway(&["--spawn", count], &[&[("SYMBOLON_LOG", "warn")], settings].concat()).await;
    gateway.until_ready().await;
    gateway
}

/// The processes of its instances.
async fn pids(gateway: &Service) -> BTreeSet<i32> {
    let view = gateway.operator_view("/gateway").await;
    let spawned = view["spawned"].as_array().expect("instances").iter();
    spawned.filter_map(|instance| i32::try_from(instance["pid"].as_i64()?).ok()).collect()
}

/// Whether every instance is a healthy node.
async fn is_complete(gateway: &Service) -> bool {
    let view = gateway.operator_view("/gateway").await;
    let ids = |list: &Value, takes: fn(&Value) -> bool| -> BTreeSet<String> {
        let list = list.as_array().cloned().unwrap_or_default();
        list.iter().filter(|one| takes(one)).map(|one| one["id"].to_string()).collect()
    };
    let takes_requests = |node: &Value| node["is_healthy"] == true && node["draining"] == false;
    ids(&view["nodes"], takes_requests) == ids(&view["spawned"], |_| true)
}

fn process(pid: i32) -> Pid {
    Pid::from_raw(pid).expect("a process id")
}

/// Clients that read a session all the time, until they are stopped.
struct Load {
    stop: tokio_util::sync::CancellationToken,
    readers: Vec<tokio::task::JoinHandle<(usize, Vec<String>)>>,
}

impl Load {
    fn start(gateway: &Service, token: &str) -> Self {
        let stop = tokio_util::sync::CancellationToken::new();
        let readers = (0..8).map(|_| {
            let (stop, client, url, token) =
                (stop.clone(), reqwest::Client::new(), format!("{}/v1/session", gateway.url), token.to_owned());
            tokio::spawn(async move {
                let (mut succeeded, mut failures) = (0, Vec::new());
                while !stop.is_cancelled() {
                    match client.get(&url).bearer_auth(&token).send().await {
                        Ok(reply) if reply.status() == 200 => succeeded += 1,
                        Ok(reply) => failures.push(reply.status().to_string()),
                        Err(error) => failures.push(error.to_string()),
                    }
                }
                (succeeded, failures)
            })
        });
        Self { readers: readers.collect(), stop }
    }

    /// Stops the clients, and asserts that they have read, and that no request failed.
    async fn assert_no_failure(self) {
        self.stop.cancel();
        for reader in self.readers {
            let (succeeded, failures) = reader.await.expect("no panic");
            assert_eq!(failures, [""; 0]);
            assert!(succeeded > 0, "a client was never served");
        }
    }
}

#[tokio::test]
async fn a_spawning_gateway_serves_a_first_session() {
    let gateway = spawning_with("3", &[GENERATED_OPERATOR_TOKEN]).await;
    let token = gateway.register_and_login("ada").await;
    let patched = gateway.patch("/v1/users/me/preferences", json!({"theme": "dark"})).bearer(&token).send().await;
    assert_eq!(patched.status, 200);
    for _ in 0..10 {
        let session = gateway.get("/v1/session").bearer(&token).send().await.json();
        assert_eq!(session["preferences"], json!({"theme": "dark"}));
    }
    let operator_token = gateway.generated_operator_token();
    for (path, list) in [("/gateway", "spawned"), ("/balancer", "nodes")] {
        let view = gateway.get(&format!("/v1/operator{path}")).bearer(&operator_token).send().await.json();
        assert_eq!(view[list].as_array().map(Vec::len), Some(3), "{view}");
    }
}

#[tokio::test]
async fn a_killed_instance_is_replaced_without_failed_reads() {
    let gateway = spawning("3").await;
    let token = gateway.register_and_login("ada").await;
    let load = Load::start(&gateway, &token);
    let before = pids(&gateway).await;
    let victim = *before.first().expect("an instance");
    signal(process(victim), Signal::KILL);
    until("it is replaced", async || {
        let now = pids(&gateway).await;
        now.len() == 3 && !now.contains(&victim) && is_complete(&gateway).await
    })
    .await;
    load.assert_no_failure().await;
}

#[tokio::test]
async fn a_rolling_restart_fails_no_request() {
    let gateway = spawning("2").await;
    let token = gateway.register_and_login("ada").await;
    let load = Load::start(&gateway, &token);
    let before = pids(&gateway).await;
    signal(gateway.pid(), Signal::HUP);
    until("all are replaced", async || {
        let now = pids(&gateway).await;
        now.len() == 2 && now.is_disjoint(&before)
    })
    .await;
    load.assert_no_failure().await;
}

#[tokio::test]
async fn a_stopped_instance_is_replaced_without_failed_reads() {
    let gateway = spawning("2").await;
    let token = gateway.register_and_login("ada").await;
    let load = Load::start(&gateway, &token);
    let before = pids(&gateway).await;
    for pid in &before {
        signal(process(*pid), Signal::TERM);
        until("it is replaced", async || {
            let now = pids(&gateway).await;
            now.len() == 2 && !now.contains(pid) && is_complete(&gateway).await
        })
        .await;
    }
    load.assert_no_failure().await;
}

#[tokio::test]
async fn instances_end_with_a_killed_gateway() {
    let mut gateway = spawning("2").await;
    let instances = pids(&gateway).await;
    assert!(!instances.is_empty() && instances.iter().all(|pid| !has_ended(process(*pid))));
    gateway.kill().await;
    until("they end", async || instances.iter().all(|pid| has_ended(process(*pid)))).await;
}

#[tokio::test]
async fn a_stopped_gateway_ends_its_instances_first() {
    let mut gateway = spawning("2").await;
    let instances = pids(&gateway).await;
    assert!(!instances.is_empty());
    assert!(gateway.terminate().await, "the exit code is not 0");
    assert!(instances.iter().all(|pid| has_ended(process(*pid))));
}

#[tokio::test]
async fn the_number_of_instances_is_set_within_its_bounds() {
    // With so many cores an instance is never overloaded, so that the leader does not change the number.
    let gateway = spawning_with("1..3", &[("SYMBOLON_SCALING_CORES", "64")]).await;
    let token = gateway.register_and_login("ada").await;
    let load = Load::start(&gateway, &token);
    let set_count = async |count: u32| {
        let body = json!({"count": count});
        let reply = gateway.operator(Method::PUT, "/gateway/instances").json(&body).send().await;
        reply.json()["count"].as_u64().expect("a number") as usize
    };
    for (wanted, expected) in [(9, 3), (2, 2), (0, 1)] {
        assert_eq!(set_count(wanted).await, expected);
        until("so many instances run", async || pids(&gateway).await.len() == expected && is_complete(&gateway).await)
            .await;
    }
    load.assert_no_failure().await;
}

#[tokio::test]
async fn an_instance_that_cannot_start_is_started_again() {
    let log = LogFile::new();
    let mut first = Service::start().await;
    first.kill().await;
    // Instances refuse a strategy that differs from the data's; the gateway does not read it.
    let different = [("SYMBOLON_STRATEGY", "hash")];
    let gateway = first.fleet_gateway_logging_to(&log, &["--spawn", "1"], &different).await;
    until("it was started three times", async || log.text().matches("instance exited unexpectedly").count() >= 3).await;
    assert_eq!(gateway.get("/v1/health/ready").send().await.status, 503);
}
