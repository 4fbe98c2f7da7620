//! Simulates a gate in virtual time, in front of a process with one core. Runs are deterministic: they are seeded.
//!
//! A request uses the core three times. In between it asks a store that all requests need and a backend of its own; both
//! answer any number of requests at a time. Arrivals are random. A rejection uses the core too.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use fastrand::Rng;

use super::{Bounds, Completion, Decision, Group, State};
use crate::{QUEUE_DEADLINE, bulkheads::Kind};

/// The seeds of the random numbers.
const SEEDS: std::ops::Range<u64> = 0..2;
const BACKENDS: [&str; 3] = ["a", "b", "c"];
/// The mean time that a request uses the core in each step; together they allow 4000 requests a second.
const STEPS: [Duration; 3] = [Duration::from_micros(100), Duration::from_micros(75), Duration::from_micros(75)];
const CAPACITY: f64 = 4000.0;
/// The initial limit, which is too high.
const START: f64 = 16.0;
/// The mean time of an answer of a store.
const STORE: Duration = Duration::from_micros(500);
/// The time of a rejection: a hundredth of serving a request.
const REJECTION: Duration = Duration::from_micros(2);

/// A part of a run.
#[derive(Clone, Copy)]
struct Phase {
    seconds: u64,
    /// The arrival rate, as a part of the capacity.
    load: f64,
    /// The slowdown of the common store, and of the last backend.
    slowness: [f64; 2],
}

/// The results of the requests that arrived in a phase.
#[derive(Debug, Default)]
struct Outcome {
    /// Answers per second within the phase.
    goodput: f64,
    offered: [u64; 3],
    rejected: [u64; 3],
    latencies: Vec<Duration>,
}

impl Outcome {
    fn p99(&mut self) -> Duration {
        self.latencies.sort_unstable();
        self.latencies[self.latencies.len() * 99 / 100]
    }

    fn rejected(&self) -> f64 {
        self.rejected.iter().sum::<u64>() as f64 / self.offered.iter().sum::<u64>() as f64
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    CoreDone,
    StoreAnswers(u64),
    Sweep,
}

struct Request {
    phase: usize,
    backend: usize,
    arrived: Duration,
    admitted: Duration,
    step: usize,
}

struct Simulation {
    rng: Rng,
    epoch: Instant,
    now: Duration,
    gate: State<(), u64>,
    requests: HashMap<u64, Request>,
    created: u64,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    /// The requests that use the core and wait for it; none for a rejection.
    core: VecDeque<Option<u64>>,
    outcomes: Vec<Outcome>,
}

/// Runs the phases one after the other, with or without a limit.
fn run(seed: u64, phases: &[Phase], limited: bool) -> Vec<Outcome> {
    let (initial, min, max) = if limited { (START, 8.0, 1000.0) } else { (1e12, 1e12, 1e12) };
    let epoch = Instant::now();
    let gate = State::new(initial, Bounds { min, max, patience: Duration::ZERO, negligible: Duration::ZERO }, epoch);
    let mut simulation = Simulation {
        rng: Rng::with_seed(seed),
        epoch,
        now: Duration::ZERO,
        gate,
        requests: HashMap::new(),
        created: 0,
        events: BinaryHeap::new(),
        core: VecDeque::new(),
        outcomes: phases.iter().map(|_| Outcome::default()).collect(),
    };
    let mut until = Duration::ZERO;
    for (number, phase) in phases.iter().enumerate() {
        until += Duration::from_secs(phase.seconds);
        simulation.phase(number, *phase, until);
    }
    simulation.outcomes
}

impl Simulation {
    fn phase(&mut self, number: usize, phase: Phase, until: Duration) {
        self.schedule(Duration::ZERO, Event::Arrive);
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            if now >= until {
                self.now = until;
                if event != Event::Arrive {
                    self.events.push(Reverse((now, 0, event)));
                }
                break;
            }
            self.now = now;
            match event {
                Event::Arrive => {
                    self.arrive(number);
                    let pause = self.random(Duration::from_secs_f64(1.0 / CAPACITY / phase.load));
                    self.schedule(pause, Event::Arrive);
                }
                Event::CoreDone => self.core_done(number, phase),
                Event::StoreAnswers(id) => self.take_core(Some(id)),
                Event::Sweep => self.take_expired(),
            }
        }
        // The next phase starts arrivals of its own.
        self.events.retain(|Reverse((_, _, event))| *event != Event::Arrive);
        self.outcomes[number].goodput /= phase.seconds as f64;
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.created += 1;
        self.events.push(Reverse((self.now + after, self.created, event)));
    }

    fn random(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.rng.f64()).ln())
    }

    fn arrive(&mut self, phase: usize) {
        let (id, backend) = (self.created, self.rng.usize(..BACKENDS.len()));
        self.outcomes[phase].offered[backend] += 1;
        let bulkhead = self.gate.bulkhead(Some(BACKENDS[backend]));
        let request = Request { phase, backend, arrived: self.now, admitted: self.now, step: 0 };
        let group = Group { bulkhead, kind: Kind::Read, client: () };
        match self.gate.offer(group, self.epoch + self.now, || id) {
            Decision::Admitted => {
                self.requests.insert(id, request);
                self.take_core(Some(id));
            }
            Decision::Queued(_) => {
                self.requests.insert(id, request);
                self.schedule(QUEUE_DEADLINE, Event::Sweep);
            }
            Decision::Rejected => {
                self.requests.insert(id, request);
                self.reject(id);
            }
        }
    }

    fn reject(&mut self, id: u64) {
        let request = self.requests.remove(&id).expect("it waited");
        self.outcomes[request.phase].rejected[request.backend] += 1;
        self.take_core(None);
    }

    fn take_expired(&mut self) {
        let (late, _) = self.gate.take_expired(self.epoch + self.now);
        late.into_iter().for_each(|id| self.reject(id));
    }

    fn take_core(&mut self, id: Option<u64>) {
        self.core.push_back(id);
        if self.core.len() == 1 {
            self.start();
        }
    }

    /// Lets the first request in line use the core.
    fn start(&mut self) {
        let Some(first) = self.core.front() else { return };
        let mean = first.map_or(REJECTION, |id| STEPS[self.requests[&id].step]);
        let part = 0.5 + self.rng.f64();
        self.schedule(mean.mul_f64(part), Event::CoreDone);
    }

    fn core_done(&mut self, phase_number: usize, phase: Phase) {
        if let Some(id) = self.core.pop_front().flatten() {
            let request = self.requests.get_mut(&id).expect("it is in flight");
            request.step += 1;
            let (step, backend) = (request.step, request.backend);
            if step == STEPS.len() {
                self.end(id, phase_number);
            } else {
                let slowness = match (step, backend) {
                    (1, _) => phase.slowness[0],
                    (_, 2) => phase.slowness[1],
                    _ => 1.0,
                };
                let pause = self.random(STORE.mul_f64(slowness));
                self.schedule(pause, Event::StoreAnswers(id));
            }
        }
        self.start();
    }

    fn end(&mut self, id: u64, phase: usize) {
        let request = self.requests.remove(&id).expect("it is in flight");
        self.outcomes[request.phase].latencies.push(self.now - request.arrived);
        self.outcomes[phase].goodput += 1.0;
        let completion = Completion { latency: Some(self.now - request.admitted), ..Completion::default() };
        let bulkhead = self.gate.bulkhead(Some(BACKENDS[request.backend]));
        for next in
            self.gate.finish(Group { bulkhead, kind: Kind::Read, client: () }, completion, self.epoch + self.now)
        {
            let waiting = self.requests.get_mut(&next).expect("it waits");
            waiting.admitted = self.now;
            self.take_core(Some(next));
        }
    }
}

fn phase(seconds: u64, load: f64) -> Phase {
    Phase { seconds, load, slowness: [1.0; 2] }
}

/// Returns the p99 at the highest load without a growing queue.
fn knee(seed: u64) -> Duration {
    run(seed, &[phase(5, 0.75)], false)[0].p99()
}

#[test]
fn goodput_and_latency_hold_at_three_times_the_capacity() {
    for seed in SEEDS {
        let mut outcomes = run(seed, &[phase(3, 0.5), phase(10, 3.0)], true);
        let (goodput, p99) = (outcomes[1].goodput / CAPACITY, outcomes[1].p99());
        assert!(goodput >= 0.9, "{seed}: {goodput}");
        assert!(p99 <= 2 * knee(seed), "{seed}: {p99:?} against {:?}", knee(seed));
        assert_eq!(outcomes[0].rejected(), 0.0, "{seed}");
    }
}

#[test]
fn goodput_and_latency_hold_from_a_start_under_overload() {
    for seed in SEEDS {
        let mut outcomes = run(seed, &[phase(2, 3.0), phase(10, 3.0)], true);
        let (goodput, p99) = (outcomes[1].goodput / CAPACITY, outcomes[1].p99());
        assert!(goodput >= 0.9, "{seed}: {goodput}");
        assert!(p99 <= 3 * knee(seed), "{seed}: {p99:?} against {:?}", knee(seed));
    }
}

#[test]
fn without_a_limit_requests_wait_for_seconds_during_and_after_an_overload() {
    let mut outcomes = run(1, &[phase(10, 3.0), phase(10, 0.5)], false);
    assert!(outcomes[0].p99() > Duration::from_secs(5));
    assert!(outcomes[1].latencies.is_empty(), "later requests wait for earlier ones");
}

#[test]
fn after_an_overload_nothing_is_rejected() {
    for seed in SEEDS {
        let mut outcomes = run(seed, &[phase(2, 0.5), phase(10, 3.0), phase(1, 0.7), phase(5, 0.7)], true);
        assert!(outcomes[2].rejected() < 0.01, "{seed}: {:?}", outcomes[2].rejected());
        assert!(outcomes[3].rejected() < 0.001, "{seed}: {:?}", outcomes[3].rejected());
        assert!(outcomes[3].p99() < 2 * knee(seed), "{seed}: {:?}", outcomes[3].p99());
    }
}

#[test]
fn a_slow_backend_does_not_affect_others() {
    // Also a stalled backend, and right after an overload, which leaves a low limit.
    for (before, slowness) in [(0.5, 10.0), (3.0, 10.0), (0.5, 1000.0), (3.0, 1000.0)] {
        for seed in SEEDS {
            let slow = |seconds| Phase { slowness: [1.0, slowness], ..phase(seconds, 0.6) };
            let outcomes = run(seed, &[phase(2, 0.5), phase(4, before), slow(3), slow(4)], true);
            for (number, allowed) in [(2, 0.01), (3, 0.001)] {
                let outcome = &outcomes[number];
                let rejected = |backend: usize| outcome.rejected[backend] as f64 / outcome.offered[backend] as f64;
                assert!(rejected(0).max(rejected(1)) <= allowed, "{seed}: {} {}", rejected(0), rejected(1));
            }
        }
    }
}

#[test]
fn a_slow_common_store_is_tolerated_after_a_moment() {
    for seed in SEEDS {
        let slow = |seconds| Phase { slowness: [10.0, 1.0], ..phase(seconds, 0.6) };
        let outcomes = run(seed, &[phase(2, 0.6), slow(5), slow(5), phase(4, 0.6)], true);
        assert!(outcomes[2].rejected() < 0.001, "{seed}: {}", outcomes[2].rejected());
        assert!(outcomes[3].rejected() < 0.001, "{seed}: {}", outcomes[3].rejected());
    }
}

#[test]
fn a_slightly_slower_common_store_is_tolerated() {
    // Without probes the limit would stay at a value that rejects some requests and shows no baseline.
    for seed in SEEDS {
        let slow = |seconds, slowness| Phase { slowness: [slowness, 1.0], ..phase(seconds, 0.6) };
        let outcomes = run(seed, &[slow(3, 10.0), slow(10, 28.0), slow(5, 28.0)], true);
        assert!(outcomes[2].rejected() < 0.01, "{seed}: {}", outcomes[2].rejected());
    }
}

#[test]
fn a_slow_backend_does_not_leave_a_limit_that_is_too_high() {
    for seed in SEEDS {
        let slow = Phase { slowness: [1.0, 1000.0], ..phase(20, 0.6) };
        let mut outcomes = run(seed, &[phase(2, 0.5), slow, phase(2, 3.0)], true);
        assert!(outcomes[2].p99() <= 3 * knee(seed), "{seed}: {:?} against {:?}", outcomes[2].p99(), knee(seed));
    }
}
