//! The offered load of an instance and the cost of a request. The fleet's demand is their product.
//!
//! Demand is the rate of requests of each class, including refused ones, times the processor time of such a request (`cost`).
//! Processor use is not a measure of demand: it does not show refused requests, and more instances do not help a fleet that
//! waits for a slow store. Demand depends neither on the number of instances nor on the speed of the stores.

mod cost;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
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

/// How often the counters are read.
const TICK: Duration = Duration::from_secs(1);
/// The window of the reported rates, in ticks.
const WINDOW_TICKS: usize = 10;
/// The window that costs are learnt from, in ticks. In shorter ones the resolution of the clocks would dominate.
const LEARN_TICKS: u32 = 5;

/// The load of the last ten seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Requests per second, including refused ones.
    pub offered: ByClass<f64>,
    /// Processor time of one request, in seconds.
    pub cost: ByClass<Option<f64>>,
    /// Mean processor use of the process, in cores.
    pub used_cores: f64,
}

/// Counts the offered requests and learns their cost. Clones share the counts.
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
    /// The readings of the last ticks, oldest first.
    ticks: VecDeque<Reading>,
    costs: CostModel,
    /// The end of the last window that costs were learnt from.
    learnt_at: Option<Reading>,
}

/// The values of all counters at one time. Counters only rise.
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
    /// Counts a request that arrived.
    pub fn offer(&self, class: LoadClass) {
        let counter = match class {
            LoadClass::Login => &self.0.offered.login,
            LoadClass::Read => &self.0.offered.read,
            LoadClass::Change => &self.0.offered.change,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that was refused at once and cost almost nothing.
    pub fn refuse(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the load of the last ten seconds, or since the start. None in the first second.
    pub fn measured(&self) -> Option<Measured> {
        let learnt = self.0.learnt.locked();
        let (first, last) = (learnt.ticks.front()?, learnt.ticks.back()?);
        let elapsed = (last.at - first.at).as_secs_f64();
        (elapsed > 0.0).then(|| Measured {
            offered: last.offered.zip(first.offered).map(|(last, first)| (last - first) as f64 / elapsed),
            cost: learnt.costs.costs(),
            used_cores: last.cpu.saturating_sub(first.cpu).as_secs_f64() / elapsed,
        })
    }

    /// Reads the counters every second, until stopped.
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
            self.0.learnt.locked().add(reading);
        }
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
        if self.ticks.len() > WINDOW_TICKS + 1 {
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

/// Returns the processor time that this process has used.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Returns the resident memory of this process. None if the kernel does not provide it.
pub fn resident_bytes() -> Option<u64> {
    let sizes = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = sizes.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
