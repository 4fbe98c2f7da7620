//! What an instance is offered, and what a request costs it: from both the fleet's demand is made.
//!
//! Demand is not read off how busy an instance is: a busy processor can't show what was refused, and a fleet that waits for a
//! slow store is not helped by more instances. It is how many requests of each class are offered, those included that are
//! refused, times the processor time that such a request costs (`cost`). So it depends neither on how many instances there
//! are nor on how slow a store is.

mod cost;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cost::{CostModel, Window};
use rustix::time::ClockId;
use tokio_util::sync::CancellationToken;

use crate::{
    model::{ByClass, LoadClass},
    passwords::Passwords,
    sync::MutexExt,
    ticks::Ticks,
};

/// How often counters are read.
const TICK: Duration = Duration::from_secs(1);
/// Over how many ticks requests are counted.
const TICKS: usize = 10;
/// From so many ticks costs are learnt at a time: short ones would mostly tell how coarse clocks are.
const LEARN_TICKS: u32 = 5;

/// What was measured of late.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Requests that came in a second.
    pub offered: ByClass<f64>,
    /// Seconds of processor time that one costs.
    pub cost: ByClass<Option<f64>>,
    /// Cores that the process used.
    pub used_cores: f64,
}

/// Counts what is offered, and learns what it costs; clones share that.
#[derive(Debug, Clone, Default)]
pub struct LoadMeter(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    offered: ByClass<AtomicU64>,
    refused: AtomicU64,
    learnt: Mutex<Learnt>,
}

#[derive(Debug, Default)]
struct Learnt {
    /// The counters at the last ticks.
    ticks: VecDeque<Reading>,
    costs: CostModel,
    /// Where the costs were learnt last.
    learnt_at: Option<Reading>,
}

/// Counters that only rise, at one time.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    offered: ByClass<u64>,
    refused: u64,
    cpu: Duration,
    hashing_cpu: Duration,
    hashes: u64,
}

impl LoadMeter {
    /// Counts a request that came.
    pub fn offer(&self, class: LoadClass) {
        let counter = match class {
            LoadClass::Login => &self.0.offered.login,
            LoadClass::Read => &self.0.offered.read,
            LoadClass::Change => &self.0.offered.change,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one that was refused at once, and cost next to nothing.
    pub fn refuse(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// What was measured in the last ten seconds, or since the start; none in the first second.
    pub fn measured(&self) -> Option<Measured> {
        let learnt = self.lock();
        let (first, last) = (learnt.ticks.front()?, learnt.ticks.back()?);
        let elapsed = (last.at - first.at).as_secs_f64();
        (elapsed > 0.0).then(|| Measured {
            offered: last.offered.zip(first.offered).map(|(last, first)| (last - first) as f64 / elapsed),
            cost: learnt.costs.costs(),
            used_cores: last.cpu.saturating_sub(first.cpu).as_secs_f64() / elapsed,
        })
    }

    /// Reads the counters each second, until stopped.
    pub async fn run(self, passwords: Arc<Passwords>, stop: CancellationToken) {
        let mut ticks = Ticks::every(TICK);
        while ticks.next_until(&stop).await {
            let pool = passwords.stats();
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let ByClass { login, read, change } = &self.0.offered;
            let reading = Reading {
                at: Instant::now(),
                offered: ByClass { login: count(login), read: count(read), change: count(change) },
                refused: count(&self.0.refused) + pool.refused,
                cpu: cpu_time(),
                hashing_cpu: pool.cpu,
                hashes: pool.computed,
            };
            self.lock().add(reading);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Learnt> {
        self.0.learnt.locked()
    }
}

impl Learnt {
    fn add(&mut self, reading: Reading) {
        let since = self.learnt_at.get_or_insert(reading);
        if reading.at - since.at >= TICK * LEARN_TICKS {
            let window = reading.since(since);
            self.costs.learn(&window);
            self.learnt_at = Some(reading);
        }
        self.ticks.push_back(reading);
        if self.ticks.len() > TICKS + 1 {
            self.ticks.pop_front();
        }
    }
}

impl Reading {
    fn since(&self, earlier: &Self) -> Window {
        let requests = self.offered.zip(earlier.offered).map(|(later, earlier)| later - earlier);
        Window {
            elapsed: self.at - earlier.at,
            cpu: self.cpu.saturating_sub(earlier.cpu),
            hashing_cpu: self.hashing_cpu.saturating_sub(earlier.hashing_cpu),
            hashes: self.hashes - earlier.hashes,
            requests,
            refused: self.refused - earlier.refused,
        }
    }
}

/// The processor time that this process has used.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The memory that this process has in use; none where the kernel does not tell.
pub fn resident_bytes() -> Option<u64> {
    let sizes = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = sizes.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
