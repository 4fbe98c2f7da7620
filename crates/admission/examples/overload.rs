//! Sends 1000 requests a second to a server that can do 500, without and with a gate, and prints the latencies.
//!
//! `cargo run -p symbolon-admission --example overload`

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use symbolon_admission::{Gate, GatePolicy, Kind};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{interval, sleep},
};

const WORKERS: usize = 10;
const SERVICE_TIME: Duration = Duration::from_millis(20);
const REQUESTS: u32 = 5000;
const INTERVAL: Duration = Duration::from_millis(1);

/// Serves a request on one of the workers; returns its latency, or none if it was rejected.
async fn serve(gate: Gate<u32>, workers: Arc<Semaphore>, client: u32) -> Option<Duration> {
    let start = Instant::now();
    let permit = gate.admit(None, Kind::Read, client).await.ok()?;
    let _worker = workers.acquire().await.ok()?;
    sleep(SERVICE_TIME).await;
    permit.mark_served();
    Some(start.elapsed())
}

async fn run(name: &str, policy: GatePolicy) {
    let (gate, workers) = (Gate::new(policy), Arc::new(Semaphore::new(WORKERS)));
    let (mut requests, mut arrivals) = (JoinSet::new(), interval(INTERVAL));
    for request in 0..REQUESTS {
        arrivals.tick().await;
        requests.spawn(serve(gate.clone(), Arc::clone(&workers), request % 50));
    }
    let mut latencies: Vec<Duration> = requests.join_all().await.into_iter().flatten().collect();
    latencies.sort_unstable();
    let quantile = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or_default();
    let rejected = gate.stats().rejected;
    println!("{name:<14}{:>8}{rejected:>10}{:>12.1?}{:>12.1?}", latencies.len(), quantile(0.5), quantile(0.99));
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("{:<14}{:>8}{:>10}{:>12}{:>12}", "", "served", "rejected", "p50", "p99");
    run("without gate", GatePolicy::unlimited()).await;
    run("with gate", GatePolicy::new(4, 1000)).await;
}
