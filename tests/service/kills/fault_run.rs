//! A sequence of kills and faults under load, with a check after each.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use futures_util::future::join_all;
use rustix::process::Signal;

use super::{
    check::{Checker, Extent},
    clients::Client,
    ledger::Tally,
    probe::Probe,
};
use crate::support::{Service, process::signal};

const CLIENTS: usize = 6;

/// The storage of an instance, and the faults that it can have.
pub trait Storage {
    type Fault: Copy + Debug + 'static;
    const FAULTS: &'static [Self::Fault];

    async fn start(&self) -> Service;
    /// The fault that kills a store, or none if the kill of this number is of the instance.
    fn store_to_kill(number: usize) -> Option<Self::Fault>;
    /// Causes a fault, and asserts that it affects the requests that it should, and no others.
    async fn inject(&mut self, fault: Self::Fault, service: &Service, probe: &Probe);
    /// Ends a fault.
    async fn lift(&mut self, fault: Self::Fault, service: &Service);
}

pub struct FaultRun<S: Storage> {
    storage: S,
    service: Arc<Service>,
    probe: Probe,
    clients: Vec<Client>,
    rng: Rng,
    /// Recovery times after restarts of the instance.
    restarts: Vec<Duration>,
    /// Recovery times after faults, without a restart.
    recoveries: BTreeMap<String, Vec<Duration>>,
}

impl<S: Storage> FaultRun<S> {
    pub async fn start(storage: S, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let service = Arc::new(storage.start().await);
        let probe = Probe::new(&service).await;
        let clients = (0..CLIENTS).map(|_| Client::new(rng.u64(..))).collect();
        Self { storage, service, probe, clients, rng, restarts: Vec::new(), recoveries: BTreeMap::new() }
    }

    /// Kills so many times, and causes each fault at least once in between.
    pub async fn run(mut self, kills: usize) {
        let between = S::FAULTS.len().div_ceil(kills);
        let mut faults = S::FAULTS.iter().cycle();
        for number in 1..=kills {
            for fault in faults.by_ref().take(between) {
                self.inject_fault(*fault).await;
            }
            match S::store_to_kill(number) {
                None => self.kill().await,
                Some(store) => self.inject_fault(store).await,
            }
            let Tally { acknowledged, unknown, effective, .. } = self.tally();
            eprintln!(
                "kill {number} of {kills}: {acknowledged} writes acknowledged, {unknown} unknown, {effective} of those took effect"
            );
        }
        self.check(Extent::Everything).await;
        self.report();
    }

    /// Has clients write during `event`.
    async fn under_load(&mut self, event: impl AsyncFnOnce(&mut S, &Service, &Probe, &mut Rng)) {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |client: Client| tokio::spawn(client.work(Arc::clone(&self.service), Arc::clone(&stop)));
        let working: Vec<_> = self.clients.drain(..).map(start).collect();
        event(&mut self.storage, &self.service, &self.probe, &mut self.rng).await;
        stop.store(true, Ordering::Relaxed);
        for client in working {
            self.clients.push(client.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
        }
    }

    async fn kill(&mut self) {
        self.under_load(async |_, service, _, rng| {
            // The moment of the kill is random.
            tokio::time::sleep(Duration::from_millis(rng.u64(50..400))).await;
            signal(service.pid(), Signal::KILL);
        })
        .await;
        self.service = Arc::new(self.storage.start().await);
        self.restarts.push(self.probe.until_restored("a kill", &self.service).await);
        self.check(Extent::Touched).await;
    }

    async fn inject_fault(&mut self, fault: S::Fault) {
        let mut recovery = Duration::ZERO;
        self.under_load(async |storage, service, probe, rng| {
            // Beginning and length of the fault are random.
            tokio::time::sleep(Duration::from_millis(rng.u64(20..200))).await;
            storage.inject(fault, service, probe).await;
            tokio::time::sleep(Duration::from_millis(rng.u64(20..200))).await;
            storage.lift(fault, service).await;
            recovery = probe.until_restored(&format!("{fault:?}"), service).await;
        })
        .await;
        let fault = format!("{fault:?}");
        eprintln!("{fault}: service restored after {recovery:.0?}");
        self.recoveries.entry(fault).or_default().push(recovery);
        self.check(Extent::Touched).await;
    }

    async fn check(&mut self, extent: Extent) {
        let checker = Checker { service: &self.service, admin: &self.probe.admin };
        join_all(self.clients.iter_mut().map(|client| client.check(&checker, extent))).await;
    }

    fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.clients.iter().for_each(|client| sum += client.tally);
        sum
    }

    fn report(&self) {
        let Tally { acknowledged, unknown, effective, checked } = self.tally();
        let without_effect = unknown.saturating_sub(effective);
        eprintln!(
            "{acknowledged} writes acknowledged; {unknown} unknown: {effective} took effect, {without_effect} did not"
        );
        eprintln!("{checked} users compared; restarts of the instance: {}", summary(&self.restarts));
        for (fault, times) in &self.recoveries {
            eprintln!("{fault}: {}", summary(times));
        }
        let all: Vec<_> = self.recoveries.values().flatten().copied().collect();
        eprintln!("all faults: {}", summary(&all));
    }
}

fn summary(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) else { return "none".to_owned() };
    format!("{}; service restored after {median:.0?} (median), {longest:.0?} (longest)", times.len())
}
