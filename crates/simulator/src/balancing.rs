//! The balancer in virtual time, over nodes that fail in the ways nodes do. Seeded: the same seed gives the same run.
//!
//! A node is a queue before a number of workers, so one that gets too much answers late, and one that gets nothing answers
//! at once. Requests arrive at random, half of them from each of two zones.

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

/// How many requests a node works on at a time.
const WORKERS: usize = 8;
/// How long one takes on average on a healthy node.
const SERVICE: Duration = Duration::from_millis(10);
/// How often health checks look.
const CHECK: Duration = Duration::from_secs(1);

/// What to simulate.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How chance falls.
    pub seed: u64,
    /// How many nodes there are.
    pub nodes: usize,
    /// How long, in virtual time.
    pub time: Duration,
    /// Which part of what all nodes can do arrives.
    pub load: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { seed: 1, nodes: 6, time: Duration::from_secs(60), load: 0.5 }
    }
}

/// What came of an algorithm in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Report {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// What happened to the nodes.
    pub scenario: Scenario,
    /// How many requests were made.
    pub requests: u64,
    /// Which part of them the nodes in question got, while they were in question.
    pub share: f64,
    /// Which part failed.
    pub errors: f64,
    /// Half were answered within, in milliseconds; errors count too.
    pub p50_ms: f64,
    /// 99 % were.
    pub p99_ms: f64,
    /// 99.9 % were.
    pub p999_ms: f64,
}

/// A node's machine.
#[derive(Default)]
struct Machine {
    busy: usize,
    queue: VecDeque<Job>,
}

struct Job {
    arrived: u64,
    lease: Lease,
}

/// What happens next: at which time, in which order, what.
type Event = Reverse<(u64, u64, What)>;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
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
    events: BinaryHeap<Event>,
    scheduled: u64,
    machines: Vec<Machine>,
    /// Requests that are worked on, by slot.
    working: Vec<Option<(Job, Outcome)>>,
    free: Vec<usize>,
    latencies: Vec<u64>,
    errors: u64,
    in_question: u64,
    of_these: u64,
}

/// Runs one algorithm through one scenario.
pub fn run(algorithm: Algorithm, scenario: Scenario, settings: Settings) -> Report {
    // Picks use the thread's generator.
    fastrand::seed(settings.seed);
    let start = Instant::now();
    let balancer = Balancer::new(algorithm, Policy::default(), start);
    let mut simulation = Simulation {
        machines: (0..settings.nodes).map(|_| Machine::default()).collect(),
        rng: Rng::with_seed(settings.seed),
        scenario,
        settings,
        start,
        balancer,
        events: BinaryHeap::new(),
        scheduled: 0,
        working: Vec::new(),
        free: Vec::new(),
        latencies: Vec::new(),
        errors: 0,
        in_question: 0,
        of_these: 0,
    };
    simulation.set_nodes(0);
    simulation.schedule(0, What::Arrival);
    simulation.schedule(0, What::Check);
    simulation.play();
    simulation.report(algorithm)
}

impl Simulation {
    fn at(&self, nanos: u64) -> Instant {
        self.start + Duration::from_nanos(nanos)
    }

    fn schedule(&mut self, at: u64, what: What) {
        self.scheduled += 1;
        self.events.push(Reverse((at, self.scheduled, what)));
    }

    fn play(&mut self) {
        let end = self.settings.time.as_nanos() as u64;
        while let Some(Reverse((now, _, what))) = self.events.pop() {
            match what {
                What::Arrival if now < end => self.arrive(now),
                What::Check if now < end => self.check(now),
                What::End { node, slot } => self.end(node, slot, now),
                What::Arrival | What::Check => {}
            }
        }
    }

    fn set_nodes(&self, now: u64) {
        let present = (0..self.settings.nodes).filter(|node| self.scenario.is_there(*node, Duration::from_nanos(now)));
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
        self.schedule(now + wait, What::Arrival);
        let key = format!("user-{}", self.rng.u32(..1000));
        let caller = Caller { key: &key, region: "here", zone: zone(self.rng.usize(..2)), failed: None };
        let time = Duration::from_nanos(now);
        if self.scenario.is_on(time) {
            self.of_these += 1;
        }
        let Ok(lease) = self.balancer.pick(&caller, self.at(now)) else {
            self.errors += 1;
            self.latencies.push(0);
            return;
        };
        let node = number(&lease);
        if self.scenario.is_on(time) && self.scenario.is_in_question(node, self.settings.nodes) {
            self.in_question += 1;
        }
        self.machines[node].queue.push_back(Job { arrived: now, lease });
        self.work(node, now);
    }

    /// Has a node begin what it can.
    fn work(&mut self, node: usize, now: u64) {
        while self.machines[node].busy < WORKERS {
            let Some(job) = self.machines[node].queue.pop_front() else { return };
            self.machines[node].busy += 1;
            let fault = self.scenario.fault(node, self.settings.nodes, Duration::from_nanos(now));
            let took = exponential(&mut self.rng, SERVICE.as_secs_f64() * fault.slowness);
            let outcome = if fault.fails { Outcome::Failure } else { Outcome::Success };
            let slot = self.free.pop().unwrap_or_else(|| {
                self.working.push(None);
                self.working.len() - 1
            });
            self.working[slot] = Some((job, outcome));
            self.schedule(now + took, What::End { node, slot });
        }
    }

    fn end(&mut self, node: usize, slot: usize, now: u64) {
        let Some((job, outcome)) = self.working[slot].take() else { return };
        self.free.push(slot);
        self.machines[node].busy -= 1;
        self.latencies.push(now - job.arrived);
        self.errors += u64::from(outcome == Outcome::Failure);
        job.lease.end(outcome, self.at(now));
        self.work(node, now);
    }

    /// A health check finds out who is there and who is down.
    fn check(&mut self, now: u64) {
        let time = Duration::from_nanos(now);
        let known = self.balancer.nodes().len();
        if (0..self.settings.nodes).filter(|node| self.scenario.is_there(*node, time)).count() != known {
            self.set_nodes(now);
        }
        for node in 0..self.settings.nodes {
            let healthy = !self.scenario.is_down(node, self.settings.nodes, time);
            self.balancer.set_healthy(&format!("node-{node}"), healthy, self.at(now));
        }
        self.schedule(now + CHECK.as_nanos() as u64, What::Check);
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
            share: self.in_question as f64 / self.of_these.max(1) as f64,
            errors: self.errors as f64 / requests.max(1) as f64,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
        }
    }
}

/// Nodes are in two zones by turns, and so are callers.
fn zone(number: usize) -> &'static str {
    ["a", "b"][number % 2]
}

fn number(lease: &Lease) -> usize {
    lease.node().spec().id.strip_prefix("node-").and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// A time at random whose mean is so many seconds, in nanoseconds.
fn exponential(rng: &mut Rng, mean: f64) -> u64 {
    (-(1.0 - rng.f64()).ln() * mean * 1e9) as u64
}

#[cfg(test)]
mod tests;
