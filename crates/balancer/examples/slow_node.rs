//! Prints the share of requests that each algorithm gives to a node ten times slower than the others.
//!
//! `cargo run -p symbolon-balancer --example slow_node`

use std::time::{Duration, Instant};

use symbolon_balancer::{Algorithm, Balancer, Caller, Lease, NodeSpec, Outcome, PickError, Policy};

const NODES: usize = 4;
const REQUESTS: usize = 20_000;
const INTERVAL: Duration = Duration::from_millis(1);

fn latency(lease: &Lease) -> Duration {
    Duration::from_millis(if lease.node().spec().id == "node-0" { 50 } else { 5 })
}

fn main() -> Result<(), PickError> {
    println!("{:<22}{:>20}{:>18}", "algorithm", "share of slow node", "mean latency");
    for &algorithm in Algorithm::ALL {
        let mut now = Instant::now();
        let balancer = Balancer::new(algorithm, Policy::default(), now);
        balancer.set_nodes((0..NODES).map(|node| NodeSpec::new(format!("node-{node}"), "")), now);
        let mut in_flight: Vec<(Instant, Lease)> = Vec::new();
        let (mut slow, mut total) = (0, Duration::ZERO);
        for request in 0..REQUESTS {
            now += INTERVAL;
            for (end, lease) in in_flight.extract_if(.., |(end, _)| *end <= now) {
                lease.end(Outcome::Success, end);
            }
            let key = format!("user-{request}");
            let lease = balancer.pick(&Caller { key: &key, ..Caller::default() }, now)?;
            slow += usize::from(lease.node().spec().id == "node-0");
            total += latency(&lease);
            in_flight.push((now + latency(&lease), lease));
        }
        let share = 100.0 * slow as f64 / REQUESTS as f64;
        println!("{algorithm:<22}{share:>18.1} %{:>18.1?}", total / REQUESTS as u32);
    }
    Ok(())
}
