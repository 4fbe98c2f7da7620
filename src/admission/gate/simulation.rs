//! The gate in virtual time, before a process with one core. Seeded: the same seed gives the same run.
//!
//! A request takes the core three times, and between them asks the session store and its shard, which answer as many at once
//! as they are asked. Requests come at random. Refusing one takes the core too.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use fastrand::Rng;

use super::{Bounds, Decision, Ending, Gate, Group};
use crate::{
    admission::{QUEUE_DEADLINE, lanes::Kind},
    model::Network,
};

/// How chance falls in each run.
const SEEDS: std::ops::Range<u64> = 0..2;
const SHARDS: [&str; 3] = ["a", "b", "c"];
/// How long a request has the core each time, on average: 4000 a second is all that it can do.
const STEPS: [Duration; 3] = [Duration::from_micros(100), Duration::from_micros(75), Duration::from_micros(75)];
const CAPACITY: f64 = 4000.0;
/// What a process lets in at first: more than it should.
const START: f64 = 16.0;
/// How long a store takes to answer, on average.
const STORE: Duration = Duration::from_micros(500);
/// What refusing a request costs: a hundredth of serving one.
const REFUSAL: Duration = Duration::from_micros(2);

/// One stretch of a run.
#[derive(Clone, Copy)]
struct Phase {
    seconds: u64,
    /// As a part of the capacity.
    load: f64,
    /// How many times as long as usual the session store takes, and the last shard.
    slowness: [f64; 2],
}

/// What came of a phase, by its arrivals.
#[derive(Debug, Default)]
struct Outcome {
    /// Answers a second, within the phase.
    goodput: f64,
    offered: [u64; 3],
    shed: [u64; 3],
    took: Vec<Duration>,
}

impl Outcome {
    fn p99(&mut self) -> Duration {
        self.took.sort_unstable();
        self.took[self.took.len() * 99 / 100]
    }

    fn shed(&self) -> f64 {
        self.shed.iter().sum::<u64>() as f64 / self.offered.iter().sum::<u64>() as f64
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Arrive,
    CoreDone,
    StoreAnswers(u64),
    Sweep,
}

struct Request {
    phase: usize,
    shard: usize,
    arrived: Duration,
    admitted: Duration,
    step: usize,
}

struct Simulation {
    rng: Rng,
    begun: Instant,
    now: Duration,
    gate: Gate<u64>,
    requests: HashMap<u64, Request>,
    made: u64,
    events: BinaryHeap<Reverse<(Duration, u64, What)>>,
    /// Who has the core and who waits for it; nobody for a refusal.
    core: VecDeque<Option<u64>>,
    outcomes: Vec<Outcome>,
}

/// Runs the phases one after the other; a gate without bounds is one that lets everybody in.
fn run(seed: u64, phases: &[Phase], admission: bool) -> Vec<Outcome> {
    let (start, least, most) = if admission { (START, 8.0, 1000.0) } else { (1e12, 1e12, 1e12) };
    let begun = Instant::now();
    let gate = Gate::new(start, Bounds { least, most, patience: Duration::ZERO, negligible: Duration::ZERO }, begun);
    let mut simulation = Simulation {
        rng: Rng::with_seed(seed),
        begun,
        now: Duration::ZERO,
        gate,
        requests: HashMap::new(),
        made: 0,
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
        self.at(Duration::ZERO, What::Arrive);
        while let Some(Reverse((now, _, what))) = self.events.pop() {
            if now >= until {
                self.now = until;
                if what != What::Arrive {
                    self.events.push(Reverse((now, 0, what)));
                }
                break;
            }
            self.now = now;
            match what {
                What::Arrive => {
                    self.arrive(number);
                    let pause = self.random(Duration::from_secs_f64(1.0 / CAPACITY / phase.load));
                    self.at(pause, What::Arrive);
                }
                What::CoreDone => self.core_done(number, phase),
                What::StoreAnswers(id) => self.take_core(Some(id)),
                What::Sweep => self.sweep(),
            }
        }
        // The next phase begins arrivals of its own.
        self.events.retain(|Reverse((_, _, what))| *what != What::Arrive);
        self.outcomes[number].goodput /= phase.seconds as f64;
    }

    fn at(&mut self, after: Duration, what: What) {
        self.made += 1;
        self.events.push(Reverse((self.now + after, self.made, what)));
    }

    fn random(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.rng.f64()).ln())
    }

    fn arrive(&mut self, phase: usize) {
        let (id, shard) = (self.made, self.rng.usize(..SHARDS.len()));
        self.outcomes[phase].offered[shard] += 1;
        let lane = self.gate.lane(Some(SHARDS[shard]));
        let request = Request { phase, shard, arrived: self.now, admitted: self.now, step: 0 };
        let group = Group { lane, kind: Kind::Read, client: Network::Unknown };
        match self.gate.offer(group, self.begun + self.now, || id) {
            Decision::Admitted => {
                self.requests.insert(id, request);
                self.take_core(Some(id));
            }
            Decision::Waits(_) => {
                self.requests.insert(id, request);
                self.at(QUEUE_DEADLINE, What::Sweep);
            }
            Decision::Refused => {
                self.requests.insert(id, request);
                self.refuse(id);
            }
        }
    }

    fn refuse(&mut self, id: u64) {
        let request = self.requests.remove(&id).expect("it waited");
        self.outcomes[request.phase].shed[request.shard] += 1;
        self.take_core(None);
    }

    fn sweep(&mut self) {
        let (late, _) = self.gate.sweep(self.begun + self.now);
        late.into_iter().for_each(|id| self.refuse(id));
    }

    fn take_core(&mut self, id: Option<u64>) {
        self.core.push_back(id);
        if self.core.len() == 1 {
            self.start();
        }
    }

    /// Has the first in line use the core.
    fn start(&mut self) {
        let Some(first) = self.core.front() else { return };
        let mean = first.map_or(REFUSAL, |id| STEPS[self.requests[&id].step]);
        let part = 0.5 + self.rng.f64();
        self.at(mean.mul_f64(part), What::CoreDone);
    }

    fn core_done(&mut self, phase_number: usize, phase: Phase) {
        if let Some(id) = self.core.pop_front().flatten() {
            let request = self.requests.get_mut(&id).expect("it is under way");
            request.step += 1;
            let (step, shard) = (request.step, request.shard);
            if step == STEPS.len() {
                self.end(id, phase_number);
            } else {
                let slowness = match (step, shard) {
                    (1, _) => phase.slowness[0],
                    (_, 2) => phase.slowness[1],
                    _ => 1.0,
                };
                let pause = self.random(STORE.mul_f64(slowness));
                self.at(pause, What::StoreAnswers(id));
            }
        }
        self.start();
    }

    fn end(&mut self, id: u64, phase: usize) {
        let request = self.requests.remove(&id).expect("it is under way");
        self.outcomes[request.phase].took.push(self.now - request.arrived);
        self.outcomes[phase].goodput += 1.0;
        let ending = Ending { took: Some(self.now - request.admitted), ..Ending::default() };
        let lane = self.gate.lane(Some(SHARDS[request.shard]));
        for next in
            self.gate.finish(Group { lane, kind: Kind::Read, client: Network::Unknown }, ending, self.begun + self.now)
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

/// The p99 at the knee: what the process can do before a queue forms.
fn knee(seed: u64) -> Duration {
    run(seed, &[phase(5, 0.75)], false)[0].p99()
}

#[test]
fn at_three_times_the_capacity_goodput_and_latency_stay() {
    for seed in SEEDS {
        let mut outcomes = run(seed, &[phase(3, 0.5), phase(10, 3.0)], true);
        let (goodput, p99) = (outcomes[1].goodput / CAPACITY, outcomes[1].p99());
        assert!(goodput >= 0.9, "{seed}: {goodput}");
        assert!(p99 <= 2 * knee(seed), "{seed}: {p99:?} against {:?}", knee(seed));
        assert_eq!(outcomes[0].shed(), 0.0, "{seed}");
    }
}

#[test]
fn a_process_that_starts_under_overload_does_about_as_well() {
    for seed in SEEDS {
        let mut outcomes = run(seed, &[phase(2, 3.0), phase(10, 3.0)], true);
        let (goodput, p99) = (outcomes[1].goodput / CAPACITY, outcomes[1].p99());
        assert!(goodput >= 0.9, "{seed}: {goodput}");
        assert!(p99 <= 3 * knee(seed), "{seed}: {p99:?} against {:?}", knee(seed));
    }
}

#[test]
fn without_a_limit_everybody_waits_for_seconds_and_long_after() {
    let mut outcomes = run(1, &[phase(10, 3.0), phase(10, 0.5)], false);
    assert!(outcomes[0].p99() > Duration::from_secs(5));
    assert!(outcomes[1].took.is_empty(), "those who came later wait for those who came before");
}

#[test]
fn after_an_overload_nothing_is_refused_any_more() {
    for seed in SEEDS {
        let mut outcomes = run(seed, &[phase(2, 0.5), phase(10, 3.0), phase(1, 0.7), phase(5, 0.7)], true);
        assert!(outcomes[2].shed() < 0.01, "{seed}: {:?}", outcomes[2].shed());
        assert!(outcomes[3].shed() < 0.001, "{seed}: {:?}", outcomes[3].shed());
        assert!(outcomes[3].p99() < 2 * knee(seed), "{seed}: {:?}", outcomes[3].p99());
    }
}

#[test]
fn a_slow_shard_costs_others_nothing() {
    // Also one that hangs, and right after an overload, which leaves a low limit.
    for (before, slowness) in [(0.5, 10.0), (3.0, 10.0), (0.5, 1000.0), (3.0, 1000.0)] {
        for seed in SEEDS {
            let slow = |seconds| Phase { slowness: [1.0, slowness], ..phase(seconds, 0.6) };
            let outcomes = run(seed, &[phase(2, 0.5), phase(4, before), slow(3), slow(4)], true);
            for (number, allowed) in [(2, 0.01), (3, 0.001)] {
                let outcome = &outcomes[number];
                let shed = |shard: usize| outcome.shed[shard] as f64 / outcome.offered[shard] as f64;
                assert!(shed(0).max(shed(1)) <= allowed, "{seed}: {} {}", shed(0), shed(1));
            }
        }
    }
}

#[test]
fn a_session_store_that_has_become_slow_is_borne_after_a_moment() {
    for seed in SEEDS {
        let slow = |seconds| Phase { slowness: [10.0, 1.0], ..phase(seconds, 0.6) };
        let outcomes = run(seed, &[phase(2, 0.6), slow(5), slow(5), phase(4, 0.6)], true);
        assert!(outcomes[2].shed() < 0.001, "{seed}: {}", outcomes[2].shed());
        assert!(outcomes[3].shed() < 0.001, "{seed}: {}", outcomes[3].shed());
    }
}

#[test]
fn a_session_store_that_has_become_somewhat_slower_is_borne_too() {
    // By itself the limit would stay where some are refused, and never fall to where it shows what requests take.
    for seed in SEEDS {
        let slow = |seconds, slowness| Phase { slowness: [slowness, 1.0], ..phase(seconds, 0.6) };
        let outcomes = run(seed, &[slow(3, 10.0), slow(10, 28.0), slow(5, 28.0)], true);
        assert!(outcomes[2].shed() < 0.01, "{seed}: {}", outcomes[2].shed());
    }
}

#[test]
fn a_slow_shard_leaves_no_limit_that_lets_an_overload_in() {
    for seed in SEEDS {
        let slow = Phase { slowness: [1.0, 1000.0], ..phase(20, 0.6) };
        let mut outcomes = run(seed, &[phase(2, 0.5), slow, phase(2, 3.0)], true);
        assert!(outcomes[2].p99() <= 3 * knee(seed), "{seed}: {:?} against {:?}", outcomes[2].p99(), knee(seed));
    }
}
