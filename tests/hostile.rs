//! Connections that are generated to do harm, against an instance and a gateway, with calm users beside.
//!
//! Each connection follows from a seed of its own: the base seed and its number. `HOSTILE_SEED` is the base,
//! `HOSTILE_CONNECTIONS` how many there are, `HOSTILE_AT_A_TIME` how many of them at the same time. So one of them is made
//! again, alone, with its own seed as the base and one connection.

mod answer;
mod attack;
mod calm;
mod footprint;
mod frames;
mod generator;
mod http1;
mod http2;
mod requests;
mod script;

use std::{net::SocketAddr, path::Path, sync::Arc};

use attack::{Tally, UnderWay};
use calm::{Calm, Served};
use footprint::Process;
use requests::Targets;

use crate::service::harness::{Service, number, until};

/// Clients are given up soon, so that a test sees it.
const SETTINGS: [(&str, &str); 7] = [
    ("SYMBOLON_HEADER_TIMEOUT", "4s"),
    ("SYMBOLON_BODY_TIMEOUT", "2s"),
    ("SYMBOLON_SEND_TIMEOUT", "2s"),
    ("SYMBOLON_HTTP2_IDLE_TIMEOUT", "4s"),
    ("SYMBOLON_GATEWAY_IDLE_TIMEOUT", "1s"),
    // On a busy machine a build that is not optimised is slow by itself, and would take on ever less.
    ("SYMBOLON_ADMISSION_MIN", "128"),
    // Where gateways are.
    ("SYMBOLON_TRUSTED_PROXIES", "127.0.0.1"),
];

/// Seeds of the connections before those that are measured.
const WARM_UP: u64 = 1 << 32;

async fn targets(service: &Service) -> Arc<Targets> {
    let names = ["mallory", "trudy", "eve", "oscar"].map(str::to_owned);
    let mut tokens = Vec::new();
    for name in &names {
        tokens.push(service.member(name).await);
    }
    Arc::new(Targets { names: names.into(), tokens })
}

/// Attacks the first of the processes; none may suffer.
async fn attack(processes: &[Process]) {
    let (seed, count) = (number("HOSTILE_SEED").unwrap_or(1), number("HOSTILE_CONNECTIONS").unwrap_or(300));
    let at_a_time = usize::try_from(number("HOSTILE_AT_A_TIME").unwrap_or(64)).expect("a number of connections");
    let service = &processes[0].service;
    let (targets, under_way) = (targets(service).await, UnderWay::default());
    let to: SocketAddr = service.url.strip_prefix("http://").and_then(|to| to.parse().ok()).expect("an address");
    let wave = async |name: &str, seeds| {
        let calm = Calm::start(&service.url, name, &under_way);
        let begun = std::time::Instant::now();
        let tally = attack::run(to, seeds, at_a_time, &targets, &under_way).await;
        let seconds = begun.elapsed().as_secs_f64();
        let served = calm.stop().await;
        for process in processes {
            process.is_left_alone().await;
        }
        eprintln!("{name}: {seconds:.1} s");
        (tally, served)
    };
    let first = seed.wrapping_add(WARM_UP);
    let (_, warm) = wave("warm-up", first..first + (count / 2).clamp(100, 2500)).await;
    let calm = Calm::start(&service.url, "before", &under_way);
    let mut before = Vec::new();
    for process in processes {
        before.push(process.settled().await);
    }
    let quiet = calm.stop().await;
    let (tally, served) = wave("attack", seed..seed + count).await;
    report(&tally, &served);
    // The allocator gives memory back while it is used.
    let calm = Calm::start(&service.url, "after", &under_way);
    let mut broken: Vec<String> = [warm, quiet, served].into_iter().flat_map(|served| served.failures).collect();
    for (process, before) in processes.iter().zip(before) {
        let (after, is_back) = process.returns_to(before).await;
        eprintln!("{}: {before} → {after}, {} lines of log", process.name, process.log_lines());
        if !is_back {
            broken.push(format!("the {} keeps what it got: {before} → {after}", process.name));
        }
    }
    broken.extend(calm.stop().await.failures);
    broken.extend(processes.iter().flat_map(Process::alarms));
    let some: Vec<String> = broken.iter().take(8).cloned().collect();
    assert!(
        broken.is_empty(),
        "HOSTILE_SEED={seed} HOSTILE_CONNECTIONS={count}: {}:\n{}",
        broken.len(),
        some.join("\n")
    );
    assert_eq!(tally.kinds.values().sum::<usize>() as u64, count);
}

fn report(tally: &Tally, served: &Served) {
    eprintln!(
        "calm users: {} requests, {} failures, slowest {:?}",
        served.requests,
        served.failures.len(),
        served.slowest
    );
    eprintln!("kinds: {:?}", tally.kinds);
    eprintln!("answers: {:?}, cut off: {}", tally.answers, tally.cut_off);
}

fn process(name: &'static str, directory: &Path, service: Service) -> Process {
    Process { name, service, log: directory.join(name) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_connections_leave_an_instance_as_it_was() {
    let logs = tempfile::tempdir().expect("a temporary directory");
    let instance = Service::in_memory_logging_to(&logs.path().join("instance"), &SETTINGS).await;
    attack(&[process("instance", logs.path(), instance)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_connections_leave_a_gateway_and_its_instances_as_they_were() {
    let logs = tempfile::tempdir().expect("a temporary directory");
    let log = |name: &str| logs.path().join(name);
    let first = Service::in_memory_logging_to(&log("first instance"), &SETTINGS).await;
    let second = first.another_logging_to(&log("second instance"), &SETTINGS).await;
    let gateway = first.its_gateway_logging_to(&log("gateway"), &[], &SETTINGS).await;
    until("the gateway knows both", async || {
        let seen = gateway.operator(reqwest::Method::GET, "/gateway").send().await.json();
        let nodes = seen["nodes"].as_array().cloned().unwrap_or_default();
        nodes.len() == 2 && nodes.iter().all(|node| node["is_healthy"] == true)
    })
    .await;
    let processes = [("gateway", gateway), ("first instance", first), ("second instance", second)];
    attack(&processes.map(|(name, service)| process(name, logs.path(), service))).await;
}
