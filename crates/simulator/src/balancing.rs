//! Load balancing in virtual time, over nodes that fail in typical ways. The same seed gives the same run.
//!
//! A node is a queue in front of a number of workers, so an overloaded node answers late and an idle one at once. Arrivals are
//! random; half of them come from each of two zones.

mod scenario;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::{Duration, Instant},
};

use fastrand::Rng;
pub use scenario::Scenario;
use serde::Serialize;
use symbolon_balancer::{Algorithm, Balancer, Caller, Lease, NodeSpec, Outcome, Policy};

/// The number of requests that a node processes at a time.
const WORKERS: usize = 8;
/// The mean service time on a healthy node.
const SERVICE: Duration = Duration::from_millis(10);
/// The interval of health checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Parameters of a simulation.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The seed of the random numbers.
    pub seed: u64,
    /// The number of nodes; at least 1.
    pub nodes: usize,
    /// The virtual duration.
    pub time: Duration,
    /// The arrival rate, as a part of the capacity of all nodes.
    pub load: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { seed: 1, nodes: 6, time: Duration::from_secs(60), load: 0.5 }
    }
}

/// The result of an algorithm in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Report {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The scenario.
    pub scenario: Scenario,
    /// The number of requests.
    pub requests: u64,
    /// The share of requests that the affected nodes got while they were affected, 0 to 1.
    pub share: f64,
    /// The share of requests that failed, 0 to 1.
    pub errors: f64,
    /// The median latency in milliseconds, errors included.
    pub p50_ms: f64,
    /// The 99th percentile of the latency in milliseconds.
    pub p99_ms: f64,
    /// The 99.9th percentile of the latency in milliseconds.
    pub p999_ms: f64,
}

/// The workers and the queue of a node.
#[derive(Default)]
struct Server {
    busy: usize,
    queue: VecDeque<Job>,
}

struct Job {
    arrived: u64,
    lease: Lease,
}

/// A scheduled event: its time in nanoseconds, a number that orders events of the same time, and its kind.
type ScheduledEvent = Reverse<(u64, u64, Event)>;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Check,
    End { node: usize, slot: usize },
}

struct Simulation {
    scenario: Scenario,
    settings: Settings,
    start: Instant,
    balancer: Balancer,
    rng: Rng,
    events: BinaryHeap<ScheduledEvent>,
    scheduled: u64,
    servers: Vec<Server>,
    /// Requests in processing, by slot.
    processing: Vec<Option<(Job, Outcome)>>,
    free_slots: Vec<usize>,
    latencies: Vec<u64>,
    errors: u64,
    to_affected: u64,
    while_affected: u64,
}

/// Runs an algorithm through a scenario.
pub fn run(algorithm: Algorithm, scenario: Scenario, settings: Settings) -> Report {
    // The balancer uses the generator of the thread.
    fastrand::seed(settings.seed);
    let start = Instant::now();
    let balancer = Balancer::new(algorithm, Policy::default(), start);
    let mut simulation = Simulation {
        servers: (0..settings.nodes).map(|_| Server::default()).collect(),
        rng: Rng::with_seed(settings.seed),
        scenario,
        settings,
        start,
        balancer,
        events: BinaryHeap::new(),
        scheduled: 0,
        processing: Vec::new(),
        free_slots: Vec::new(),
        latencies: Vec::new(),
        errors: 0,
        to_affected: 0,
        while_affected: 0,
    };
    simulation.set_nodes(0);
    simulation.schedule(0, Event::Arrival);
    simulation.schedule(0, Event::Check);
    simulation.play();
    simulation.report(algorithm)
}

impl Simulation {
    fn at(&self, nanos: u64) -> Instant {
        self.start + Duration::from_nanos(nanos)
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((at, self.scheduled, event)));
    }

    fn play(&mut self) {
        let end = self.settings.time.as_nanos() as u64;
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            match event {
                Event::Arrival if now < end => self.arrive(now),
                Event::Check if now < end => self.check(now),
                Event::End { node, slot } => self.end(node, slot, now),
                Event::Arrival | Event::Check => {}
            }
        }
    }

    fn set_nodes(&self, now: u64) {
        let present =
            (0..self.settings.nodes).filter(|node| self.scenario.is_present(*node, Duration::from_nanos(now)));
        let spec = |node: usize| NodeSpec {
            id: format!("node-{node}"),
            url: String::new(),
            weight: 1,
            max_connections: 1000,
            region: "here".to_owned(),
            zone: zone(node).to_owned(),
        };
        self.balancer.set_nodes(present.map(spec), self.at(now));
    }

    fn arrive(&mut self, now: u64) {
        let rate = self.settings.load * (self.settings.nodes * WORKERS) as f64 / SERVICE.as_secs_f64();
        let wait = exponential(&mut self.rng, 1.0 / rate);
        self.schedule(now + wait, Event::Arrival);
        let key = format!("user-{}", self.rng.u32(..1000));
        let caller = Caller { key: &key, region: "here", zone: zone(self.rng.usize(..2)), failed: None };
        let time = Duration::from_nanos(now);
        if self.scenario.is_active(time) {
            self.while_affected += 1;
        }
        let Ok(lease) = self.balancer.pick(&caller, self.at(now)) else {
            self.errors += 1;
            self.latencies.push(0);
            return;
        };
        let node = number(&lease);
        if self.scenario.is_active(time) && self.scenario.is_affected(node, self.settings.nodes) {
            self.to_affected += 1;
        }
        self.servers[node].queue.push_back(Job { arrived: now, lease });
        self.start_work(node, now);
    }

    /// Starts queued requests on the free workers of a node.
    fn start_work(&mut self, node: usize, now: u64) {
        while self.servers[node].busy < WORKERS {
            let Some(job) = self.servers[node].queue.pop_front() else { return };
            self.servers[node].busy += 1;
            let fault = self.scenario.fault(node, self.settings.nodes, Duration::from_nanos(now));
            let took = exponential(&mut self.rng, SERVICE.as_secs_f64() * fault.slowness);
            let outcome = if fault.fails { Outcome::Failure } else { Outcome::Success };
            let slot = self.free_slots.pop().unwrap_or_else(|| {
                self.processing.push(None);
                self.processing.len() - 1
            });
            self.processing[slot] = Some((job, outcome));
            self.schedule(now + took, Event::End { node, slot });
        }
    }

    fn end(&mut self, node: usize, slot: usize, now: u64) {
        let Some((job, outcome)) = self.processing[slot].take() else { return };
        self.free_slots.push(slot);
        self.servers[node].busy -= 1;
        self.latencies.push(now - job.arrived);
        self.errors += u64::from(outcome == Outcome::Failure);
        job.lease.end(outcome, self.at(now));
        self.start_work(node, now);
    }

    /// Updates the nodes and their health.
    fn check(&mut self, now: u64) {
        let time = Duration::from_nanos(now);
        let known = self.balancer.nodes().len();
        if (0..self.settings.nodes).filter(|node| self.scenario.is_present(*node, time)).count() != known {
            self.set_nodes(now);
        }
        for node in 0..self.settings.nodes {
            let healthy = !self.scenario.is_down(node, self.settings.nodes, time);
            self.balancer.set_healthy(&format!("node-{node}"), healthy, self.at(now));
        }
        self.schedule(now + CHECK_INTERVAL.as_nanos() as u64, Event::Check);
    }

    fn report(mut self, algorithm: Algorithm) -> Report {
        self.latencies.sort_unstable();
        let requests = self.latencies.len();
        let quantile = |part: f64| {
            let at = ((requests as f64 * part) as usize).min(requests.saturating_sub(1));
            self.latencies.get(at).map_or(0.0, |nanos| *nanos as f64 / 1e6)
        };
        Report {
            algorithm,
            scenario: self.scenario,
            requests: requests as u64,
            share: self.to_affected as f64 / self.while_affected.max(1) as f64,
            errors: self.errors as f64 / requests.max(1) as f64,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
        }
    }
}

/// Returns the zone of a node or a caller: one of two, alternating.
fn zone(number: usize) -> &'static str {
    ["a", "b"][number % 2]
}

fn number(lease: &Lease) -> usize {
    lease.node().spec().id.strip_prefix("node-").and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Returns an exponentially distributed time in nanoseconds; `mean` is in seconds.
fn exponential(rng: &mut Rng, mean: f64) -> u64 {
    (-(1.0 - rng.f64()).ln() * mean * 1e9) as u64
}

#[cfg(test)]
mod tests;
