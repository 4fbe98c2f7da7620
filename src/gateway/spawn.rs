//! Instances that the gateway runs as child processes.
//!
//! Each instance has a slot. A slot restarts an instance that ends, with exponential backoff if it ends soon after its start,
//! and drains it when the slot is closed. Every start has a new instance id, so that the fleet does not mistake it for its
//! predecessor. An instance listens on a free port and registers in the fleet; the gateway finds it there.

mod child;
pub(super) mod scale;

use std::{
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use self::child::Child;
pub(super) use self::child::LaunchOptions;
use super::nodes::Nodes;
use crate::{clock::Timestamp, shared_store::SharedStore, sync::MutexExt};

/// Bounds of the backoff before a restart.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// Run time after which the backoff is reset.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Time in which a replacement must become ready in a rolling restart.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Number of instances to run: `3`, or `2..10` to scale in this range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpawnCount {
    /// Also the number at start.
    pub min: u32,
    pub max: u32,
}

impl FromStr for SpawnCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let number = |text: &str| text.parse().ok().filter(|number| (1..=100).contains(number));
        match (number(min), number(max)) {
            (Some(min), Some(max)) if min <= max => Ok(Self { min, max }),
            _ => Err("must be a number from 1 to 100, for example 3, or a range, for example 2..10".into()),
        }
    }
}

/// An instance that the gateway runs.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = SpawnedInstance)]
pub(super) struct InstanceView {
    /// Instance id in the fleet.
    #[schema(example = "gateway-1f2e3d4c-1")]
    id: String,
    /// Process id.
    #[schema(example = 4711)]
    pid: u32,
    /// Number of restarts of its slot after an instance had ended by itself.
    #[schema(example = 0)]
    restarts: u32,
}

/// Runs the instances; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Spawner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    count: SpawnCount,
    launch: LaunchOptions,
    desired: watch::Sender<u32>,
    /// Time of an operator's last choice of the number.
    chosen_at: Mutex<Option<Timestamp>>,
    restart_requests: watch::Sender<u64>,
    running: Mutex<Vec<(u32, InstanceView)>>,
    has_started: AtomicBool,
}

struct Slot {
    number: u32,
    close: CancellationToken,
    task: JoinHandle<()>,
}

/// Opens and runs slots.
#[derive(Clone)]
struct SlotRunner {
    spawner: Spawner,
    store: Arc<dyn SharedStore>,
}

impl Spawner {
    pub(super) fn new(count: SpawnCount, launch: LaunchOptions) -> Self {
        Self(Arc::new(Inner {
            count,
            launch,
            desired: watch::Sender::new(count.min),
            chosen_at: Mutex::default(),
            restart_requests: watch::Sender::new(0),
            running: Mutex::default(),
            has_started: AtomicBool::new(false),
        }))
    }

    /// Returns whether the number of instances can change.
    pub(super) fn is_scalable(&self) -> bool {
        self.0.count.min < self.0.count.max
    }

    /// Returns whether all initial instances have become ready.
    pub(super) fn has_started(&self) -> bool {
        self.0.has_started.load(Ordering::Relaxed)
    }

    pub(super) fn instances(&self) -> Vec<InstanceView> {
        self.running().iter().map(|(_, view)| view.clone()).collect()
    }

    /// Sets the number of instances chosen by an operator. Returns it after clamping to the bounds.
    pub(super) fn set_by_operator(&self, count: u32) -> u32 {
        *self.chosen_at() = Some(Timestamp::now());
        self.set_count(count).0
    }

    /// Applies a scaling decision made at `at`. Returns the new number of instances if it changed. After a choice of an
    /// operator, only a later decision that `changes` the number is applied.
    fn apply_decision(&self, decided: u32, changes: bool, at: Timestamp) -> Option<u32> {
        if self.chosen_at().is_some_and(|chosen_at| !changes || at <= chosen_at) {
            return None;
        }
        let (count, before) = self.set_count(decided);
        (count != before).then_some(count)
    }

    /// Returns the new number after clamping, and the one before.
    fn set_count(&self, count: u32) -> (u32, u32) {
        let count = count.clamp(self.0.count.min, self.0.count.max);
        (count, self.0.desired.send_replace(count))
    }

    fn chosen_at(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.0.chosen_at.locked()
    }

    /// Requests a rolling restart: all instances are replaced one by one.
    pub(super) fn restart_all(&self) {
        self.0.restart_requests.send_modify(|requests| *requests += 1);
    }

    /// Runs the instances until `stop`, then drains all of them.
    pub(super) async fn run(&self, nodes: &Nodes, store: Arc<dyn SharedStore>, stop: CancellationToken) {
        let runner = SlotRunner { spawner: self.clone(), store };
        let (mut desired, mut restarts) = (self.0.desired.subscribe(), self.0.restart_requests.subscribe());
        let (mut slots, mut next) = (Vec::new(), 1);
        loop {
            let count = *desired.borrow_and_update() as usize;
            while slots.len() < count {
                slots.push(runner.open(next));
                next += 1;
            }
            // The newest are closed: the oldest have warm caches.
            let surplus: Vec<Slot> = slots.drain(count.min(slots.len())..).collect();
            close(surplus).await;
            tokio::select! {
                () = stop.cancelled() => break,
                _ = desired.changed() => {}
                _ = restarts.changed() => self.replace_all(&runner, &mut slots, &mut next, nodes, &stop).await,
                () = self.all_ready(nodes), if !self.has_started() => self.0.has_started.store(true, Ordering::Relaxed),
            }
        }
        close(slots).await;
    }

    async fn replace_all(
        &self,
        runner: &SlotRunner,
        slots: &mut Vec<Slot>,
        next: &mut u32,
        nodes: &Nodes,
        stop: &CancellationToken,
    ) {
        tracing::info!(instances = slots.len(), "rolling restart of all instances");
        for slot in slots {
            let new = runner.open(*next);
            let became_ready = tokio::time::timeout(READY_TIMEOUT, self.is_ready(*next, nodes));
            *next += 1;
            let is_ready = tokio::select! {
                result = became_ready => result.is_ok(),
                () = stop.cancelled() => false,
            };
            if !is_ready {
                tracing::error!("rolling restart aborted; the new instance did not become ready");
                return close(vec![new]).await;
            }
            close(vec![std::mem::replace(slot, new)]).await;
        }
    }

    async fn all_ready(&self, nodes: &Nodes) {
        loop {
            let running = self.instances();
            if running.len() >= self.0.count.min as usize && running.iter().all(|view| is_healthy(nodes, &view.id)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn is_ready(&self, number: u32, nodes: &Nodes) {
        let id = || self.running().iter().find(|(slot, _)| *slot == number).map(|(_, view)| view.id.clone());
        while !id().is_some_and(|id| is_healthy(nodes, &id)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn set_running(&self, number: u32, view: Option<InstanceView>) {
        let mut running = self.running();
        running.retain(|(slot, _)| *slot != number);
        running.extend(view.map(|view| (number, view)));
    }

    fn running(&self) -> MutexGuard<'_, Vec<(u32, InstanceView)>> {
        self.0.running.locked()
    }
}

/// Returns whether a node has passed the gateway's health checks.
fn is_healthy(nodes: &Nodes, id: &str) -> bool {
    nodes.balancer.nodes().iter().any(|node| {
        let stats = node.stats();
        node.spec().id == id && stats.healthy && stats.checked_at.is_some()
    })
}

/// Closes slots concurrently.
async fn close(slots: Vec<Slot>) {
    slots.iter().for_each(|slot| slot.close.cancel());
    for slot in slots {
        if let Err(error) = slot.task.await {
            tracing::error!(%error, slot = slot.number, "task of an instance panicked");
        }
    }
}

impl SlotRunner {
    fn open(&self, number: u32) -> Slot {
        let close = CancellationToken::new();
        let task = tokio::spawn(self.clone().run(number, close.clone()));
        Slot { number, close, task }
    }

    /// Keeps an instance running until the slot is closed.
    async fn run(self, number: u32, close: CancellationToken) {
        let mut backoff = MIN_BACKOFF;
        for restarts in 0.. {
            let started = Instant::now();
            match Child::start(&self.spawner.0.launch, number, restarts) {
                Ok(mut child) => {
                    let view = InstanceView { id: child.id().to_owned(), pid: child.pid(), restarts };
                    self.spawner.set_running(number, Some(view));
                    let ended = tokio::select! {
                        ended = child.wait() => Some(ended),
                        () = close.cancelled() => None,
                    };
                    if ended.is_none() {
                        child.drain(self.spawner.0.launch.drain_timeout).await;
                    }
                    self.spawner.set_running(number, None);
                    self.deregister(child.id()).await;
                    match ended {
                        None => return,
                        Some(status) => tracing::warn!(instance = child.id(), status, "instance exited unexpectedly"),
                    }
                }
                Err(error) => tracing::error!(%error, "could not start instance"),
            }
            backoff = if started.elapsed() >= STABLE_AFTER { MIN_BACKOFF } else { (2 * backoff).min(MAX_BACKOFF) };
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                () = close.cancelled() => return,
            }
        }
    }

    /// Removes an instance from the fleet registry, in case it ended without doing so.
    async fn deregister(&self, id: &str) {
        if let Err(error) = self.store.leave(id).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                id,
                "could not deregister instance; its entry expires by itself"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_choice_stays_until_a_later_decision_changes_the_number() {
        let launch = LaunchOptions {
            program: "symbolon".into(),
            arguments: Vec::new(),
            id_prefix: String::new(),
            prefix_log_lines: false,
            drain_timeout: Duration::ZERO,
        };
        let spawner = Spawner::new(SpawnCount { min: 1, max: 4 }, launch);
        let past = Timestamp::from_millis(Timestamp::now().millis() - 1000);
        assert_eq!(spawner.apply_decision(2, false, past), Some(2), "without a choice, the last decision applies");
        assert_eq!(spawner.apply_decision(9, true, past), Some(4));
        assert_eq!(spawner.set_by_operator(3), 3);
        let later = Timestamp::from_millis(Timestamp::now().millis() + 1000);
        assert_eq!(spawner.apply_decision(2, true, past), None, "decided before the choice");
        assert_eq!(spawner.apply_decision(2, false, later), None, "a decision that keeps the number");
        assert_eq!(spawner.apply_decision(2, true, later), Some(2));
        assert_eq!(spawner.apply_decision(2, true, later), None);
    }

    #[test]
    fn a_count_is_a_number_or_a_range() {
        let count = |text: &str| text.parse::<SpawnCount>().map(|count| (count.min, count.max)).ok();
        assert_eq!(count("3"), Some((3, 3)));
        assert_eq!(count("2..10"), Some((2, 10)));
        for wrong in ["", "0", "101", "3..2", "..", "2..", "-1", "a", "1..2..3"] {
            assert_eq!(count(wrong), None, "{wrong}");
        }
    }
}
