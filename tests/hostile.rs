//! Randomly generated hostile connections to an instance and a gateway, while other users are served.
//!
//! The random seed of a connection is a base seed plus the connection's number. `HOSTILE_SEED` is the base,
//! `HOSTILE_CONNECTIONS` the number of connections, and `HOSTILE_AT_A_TIME` how many of them are open together. To repeat one
//! connection, set its own seed as the base, and one connection.

mod answer;
mod attack;
mod bystanders;
mod footprint;
mod frames;
mod generator;
mod http1;
mod http2;
mod requests;
mod script;

use std::{net::SocketAddr, sync::Arc};

use attack::{Tally, UnderWay};
use bystanders::{Bystanders, Served};
use footprint::Process;
use requests::Targets;

use crate::support::{LogFile, Service, TRUST_LOOPBACK, env_number, until};

/// Short timeouts, so that a test meets all of them.
const SETTINGS: [(&str, &str); 7] = [
    ("SYMBOLON_HEADER_TIMEOUT", "4s"),
    ("SYMBOLON_BODY_TIMEOUT", "2s"),
    ("SYMBOLON_SEND_TIMEOUT", "2s"),
    ("SYMBOLON_HTTP2_IDLE_TIMEOUT", "4s"),
    ("SYMBOLON_GATEWAY_IDLE_TIMEOUT", "1s"),
    // Admission control would take an unoptimised build on a busy machine for overloaded.
    ("SYMBOLON_CONCURRENCY_MIN", "128"),
    TRUST_LOOPBACK,
];

/// The distance from the base seed to the seeds of the warm-up.
const WARM_UP: u64 = 1 << 32;

async fn targets(service: &Service) -> Arc<Targets> {
    let names = ["mallory", "trudy", "eve", "oscar"].map(str::to_owned);
    let mut tokens = Vec::new();
    for name in &names {
        tokens.push(service.register_and_login(name).await);
    }
    Arc::new(Targets { names: names.into(), tokens })
}

/// Attacks the first of the processes, and asserts that all of them serve other users and keep no resources.
async fn attack(processes: &[Process]) {
    let (seed, count) = (env_number("HOSTILE_SEED").unwrap_or(1), env_number("HOSTILE_CONNECTIONS").unwrap_or(300));
    let at_a_time = usize::try_from(env_number("HOSTILE_AT_A_TIME").unwrap_or(64)).expect("a number of connections");
    let service = &processes[0].service;
    let (targets, under_way) = (targets(service).await, UnderWay::default());
    let to: SocketAddr = service.address().parse().expect("an address");
    let wave = async |name: &str, seeds| {
        let bystanders = Bystanders::start(&service.url, name, &under_way);
        let begun = std::time::Instant::now();
        let tally = attack::run(to, seeds, at_a_time, &targets, &under_way).await;
        let seconds = begun.elapsed().as_secs_f64();
        let served = bystanders.stop().await;
        for process in processes {
            process.until_no_client_is_left().await;
        }
        eprintln!("{name}: {seconds:.1} s");
        (tally, served)
    };
    let first = seed.wrapping_add(WARM_UP);
    let (_, warm) = wave("warm-up", first..first + (count / 2).clamp(100, 2500)).await;
    let bystanders = Bystanders::start(&service.url, "before", &under_way);
    let mut before = Vec::new();
    for process in processes {
        before.push(process.settled().await);
    }
    let idle = bystanders.stop().await;
    let (tally, served) = wave("attack", seed..seed + count).await;
    report(&tally, &served);
    // The allocator gives memory back only while requests are served.
    let bystanders = Bystanders::start(&service.url, "after", &under_way);
    let mut failures: Vec<String> = [warm, idle, served].into_iter().flat_map(|served| served.failures).collect();
    for (process, before) in processes.iter().zip(before) {
        match process.returns_to(before).await {
            Ok(after) => eprintln!("{}: {before} → {after}, {} lines of log", process.name, process.log_lines()),
            Err(after) => {
                failures.push(format!("the {} does not release its resources: {before} → {after}", process.name))
            }
        }
    }
    failures.extend(bystanders.stop().await.failures);
    failures.extend(processes.iter().flat_map(Process::alarms));
    let some: Vec<String> = failures.iter().take(8).cloned().collect();
    assert!(
        failures.is_empty(),
        "HOSTILE_SEED={seed} HOSTILE_CONNECTIONS={count}: {}:\n{}",
        failures.len(),
        some.join("\n")
    );
    assert_eq!(tally.kinds.values().sum::<usize>() as u64, count);
}

fn report(tally: &Tally, served: &Served) {
    eprintln!(
        "bystanders: {} requests, {} failures, slowest {:?}",
        served.requests,
        served.failures.len(),
        served.slowest
    );
    eprintln!("kinds: {:?}", tally.kinds);
    eprintln!("answers: {:?}, cut off: {}", tally.answers, tally.cut_off);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_connections_leave_an_instance_unharmed() {
    let log = LogFile::new();
    let service = Service::in_memory_logging_to(&log, &SETTINGS).await;
    attack(&[Process { name: "instance", service, log }]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_connections_leave_a_gateway_and_its_instances_unharmed() {
    let logs = [LogFile::new(), LogFile::new(), LogFile::new()];
    let first = Service::in_memory_logging_to(&logs[1], &SETTINGS).await;
    let second = first.another_logging_to(&logs[2], &SETTINGS).await;
    let gateway = first.fleet_gateway_logging_to(&logs[0], &[], &SETTINGS).await;
    until("both instances are nodes of the gateway", async || {
        let view = gateway.operator_view("/gateway").await;
        let nodes = view["nodes"].as_array().expect("nodes");
        nodes.len() == 2 && nodes.iter().all(|node| node["is_healthy"] == true)
    })
    .await;
    let processes =
        [("gateway", gateway), ("first instance", first), ("second instance", second)].into_iter().zip(logs);
    let processes = processes.map(|((name, service), log)| Process { name, service, log });
    attack(&processes.collect::<Vec<_>>()).await;
}
