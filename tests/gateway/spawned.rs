//! A gateway that runs its instances itself.

use std::{collections::BTreeSet, path::Path};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::service::harness::{Service, until};

async fn spawning(count: &str) -> Service {
    spawning_with(count, &[]).await
}

async fn spawning_with(count: &str, settings: &[(&str, &str)]) -> Service {
    let gateway = Service::gateway(&["--spawn", count], &[&[("SYMBOLON_LOG", "warn")], settings].concat()).await;
    until("all instances are ready", async || gateway.get("/v1/health/ready").send().await.status == 200).await;
    gateway
}

async fn seen(gateway: &Service) -> Value {
    gateway.operator(Method::GET, "/gateway").send().await.json()
}

async fn pids(gateway: &Service) -> BTreeSet<u64> {
    let spawned = seen(gateway).await["spawned"].as_array().cloned().unwrap_or_default();
    spawned.iter().filter_map(|instance| instance["pid"].as_u64()).collect()
}

/// Whether the gateway's nodes are the instances that run, and all take requests.
async fn is_whole(gateway: &Service) -> bool {
    let seen = seen(gateway).await;
    let ids = |list: &Value, takes: fn(&Value) -> bool| -> BTreeSet<String> {
        let list = list.as_array().cloned().unwrap_or_default();
        list.iter().filter(|one| takes(one)).map(|one| one["id"].to_string()).collect()
    };
    let takes_requests = |node: &Value| node["is_healthy"] == true && node["draining"] == false;
    ids(&seen["nodes"], takes_requests) == ids(&seen["spawned"], |_| true)
}

async fn signal(name: &str, pid: u64) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().await.expect("kill runs").success());
}

fn runs(pid: u64) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    Path::new(&format!("/proc/{pid}")).exists() && !status.contains(") Z ")
}

/// Reads by a session without pause until told to stop; the statuses that were not 200, and how many were.
struct Load {
    stop: tokio_util::sync::CancellationToken,
    readers: Vec<tokio::task::JoinHandle<(usize, Vec<u16>)>>,
}

impl Load {
    fn start(gateway: &Service, token: &str) -> Self {
        let stop = tokio_util::sync::CancellationToken::new();
        let readers = (0..8).map(|_| {
            let (stop, client, url, token) =
                (stop.clone(), reqwest::Client::new(), format!("{}/v1/session", gateway.url), token.to_owned());
            tokio::spawn(async move {
                let (mut well, mut others) = (0, Vec::new());
                while !stop.is_cancelled() {
                    match client.get(&url).bearer_auth(&token).send().await {
                        Ok(reply) if reply.status() == 200 => well += 1,
                        Ok(reply) => others.push(reply.status().as_u16()),
                        Err(_) => others.push(0),
                    }
                }
                (well, others)
            })
        });
        Self { readers: readers.collect(), stop }
    }

    async fn end(self) -> (usize, Vec<u16>) {
        self.stop.cancel();
        let mut total = (0, Vec::new());
        for reader in self.readers {
            let (well, others) = reader.await.expect("no panic");
            total.0 += well;
            total.1.extend(others);
        }
        total
    }
}

#[tokio::test]
async fn one_command_serves_a_first_session() {
    let gateway = spawning("3").await;
    assert_eq!(pids(&gateway).await.len(), 3);
    let token = gateway.member("ada").await;
    let patched = gateway.patch("/v1/users/me/preferences", json!({"theme": "dark"})).bearer(&token).send().await;
    assert_eq!(patched.status, 200);
    for _ in 0..10 {
        let session = gateway.get("/v1/session").bearer(&token).send().await.json();
        assert_eq!(session["preferences"], json!({"theme": "dark"}));
    }
    let fleet = gateway.operator(Method::GET, "/balancer").send().await.json();
    assert_eq!(fleet["total_nodes"], 3);
}

#[tokio::test]
async fn an_instance_that_is_killed_is_replaced_and_reads_go_on() {
    let gateway = spawning("3").await;
    let token = gateway.member("ada").await;
    let load = Load::start(&gateway, &token);
    let before = pids(&gateway).await;
    let victim = *before.first().expect("an instance");
    signal("-KILL", victim).await;
    until("it is replaced", async || {
        let now = pids(&gateway).await;
        now.len() == 3 && !now.contains(&victim) && is_whole(&gateway).await
    })
    .await;
    let (well, others) = load.end().await;
    assert!(well > 0);
    // Reads are made again elsewhere.
    assert_eq!(others, Vec::<u16>::new());
}

#[tokio::test]
async fn a_rolling_restart_fails_no_request() {
    let gateway = spawning("2").await;
    let token = gateway.member("ada").await;
    let load = Load::start(&gateway, &token);
    let before = pids(&gateway).await;
    signal("-HUP", u64::from(gateway.pid())).await;
    until("all are replaced", async || {
        let now = pids(&gateway).await;
        now.len() == 2 && now.is_disjoint(&before)
    })
    .await;
    let (well, others) = load.end().await;
    assert!(well > 0);
    assert_eq!(others, Vec::<u16>::new());
}

#[tokio::test]
async fn an_instance_that_is_told_to_stop_fails_no_request() {
    let gateway = spawning("2").await;
    let token = gateway.member("ada").await;
    let load = Load::start(&gateway, &token);
    let before = pids(&gateway).await;
    for pid in &before {
        signal("-TERM", *pid).await;
        until("it is replaced", async || {
            let now = pids(&gateway).await;
            now.len() == 2 && !now.contains(pid) && is_whole(&gateway).await
        })
        .await;
    }
    let (well, others) = load.end().await;
    assert!(well > 0);
    assert_eq!(others, Vec::<u16>::new());
}

#[tokio::test]
async fn a_gateway_that_is_killed_leaves_no_instance_behind() {
    let mut gateway = spawning("2").await;
    let instances = pids(&gateway).await;
    assert!(instances.iter().all(|pid| runs(*pid)));
    gateway.kill().await;
    until("they end", async || instances.iter().all(|pid| !runs(*pid))).await;
}

#[tokio::test]
async fn a_gateway_that_is_told_to_stop_has_its_instances_end_first() {
    let mut gateway = spawning("2").await;
    let instances = pids(&gateway).await;
    assert!(gateway.terminate().await, "it ends well");
    assert!(instances.iter().all(|pid| !runs(*pid)));
}

#[tokio::test]
async fn the_number_of_instances_follows_within_its_bounds() {
    // Instances this large are never too few for the load, so that the leader has nothing to decide.
    let gateway = spawning_with("1..3", &[("SYMBOLON_SCALING_CORES", "64")]).await;
    let token = gateway.member("ada").await;
    let load = Load::start(&gateway, &token);
    let set = async |count: u32| {
        let body = json!({"count": count});
        let reply = gateway.operator(Method::PUT, "/gateway/instances").json(&body).send().await;
        reply.json()["count"].as_u64().expect("a number") as usize
    };
    for (wanted, expected) in [(9, 3), (2, 2), (0, 1)] {
        assert_eq!(set(wanted).await, expected);
        until("so many run", async || pids(&gateway).await.len() == expected && is_whole(&gateway).await).await;
    }
    let (well, others) = load.end().await;
    assert!(well > 0);
    assert_eq!(others, Vec::<u16>::new());
}

#[tokio::test]
async fn instances_that_do_not_start_are_tried_ever_more_seldom() {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let mut first = Service::start().await;
    first.kill().await;
    // Instances refuse to place keys otherwise than the data does; the gateway does not look at that.
    let other = [("SYMBOLON_STRATEGY", "hash")];
    let gateway = first.its_gateway_logging_to(log.path(), &["--spawn", "1"], &other).await;
    let text = || std::fs::read_to_string(log.path()).expect("a log");
    until("it has been tried three times", async || text().matches("ended by itself").count() >= 3).await;
    assert_eq!(gateway.get("/v1/health/ready").send().await.status, 503);
}
