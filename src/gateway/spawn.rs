//! A fleet on this machine: instances that are the gateway's own children.
//!
//! Each has a slot. A slot starts an instance, starts another one when it ends, later each time that it ends soon, and lets
//! it drain when the slot is given up. An instance gets a new id with each start, so that nobody takes it for the one before;
//! it listens on a free port of its own choice and registers like any other, which is how the gateway learns of it.

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
pub(super) use self::child::Launch;
use super::nodes::Nodes;
use crate::{clock::Timestamp, shared_store::SharedStore, sync::MutexExt};

/// The pause before an instance that ended is started again: the first one, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Whoever lived for so long did not end because of its start.
const STEADY: Duration = Duration::from_secs(10);
/// How long a replacement may take to be ready before the next step of a rolling restart.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many instances to run: `3`, or `2..10` for as many as are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpawnCount {
    /// At least, and at first.
    pub least: u32,
    /// At most.
    pub most: u32,
}

impl FromStr for SpawnCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let number = |text: &str| text.parse().ok().filter(|number| (1..=100).contains(number));
        match (number(least), number(most)) {
            (Some(least), Some(most)) if least <= most => Ok(Self { least, most }),
            _ => Err("must be a number such as 3, or a range such as 2..10, from 1 to 100".into()),
        }
    }
}

/// An instance that the gateway runs.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = SpawnedInstance)]
pub(super) struct InstanceView {
    /// Its id in the fleet.
    #[schema(example = "gateway-1f2e3d4c-1")]
    id: String,
    /// Its process id.
    #[schema(example = 4711)]
    pid: u32,
    /// How often it was started again after it had died or was replaced.
    #[schema(example = 0)]
    restarts: u32,
}

/// Runs instances; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Spawner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    count: SpawnCount,
    launch: Launch,
    wanted: watch::Sender<u32>,
    /// When an operator last chose how many.
    chosen_at: Mutex<Option<Timestamp>>,
    rolls: watch::Sender<u64>,
    running: Mutex<Vec<(u32, InstanceView)>>,
    has_started: AtomicBool,
}

/// A slot's task, and how it is given up.
struct Slot {
    number: u32,
    give_up: CancellationToken,
    task: JoinHandle<()>,
}

/// What slots work with.
#[derive(Clone)]
struct Fleet {
    spawner: Spawner,
    store: Arc<dyn SharedStore>,
}

impl Spawner {
    pub(super) fn new(count: SpawnCount, launch: Launch) -> Self {
        Self(Arc::new(Inner {
            count,
            launch,
            wanted: watch::Sender::new(count.least),
            chosen_at: Mutex::default(),
            rolls: watch::Sender::new(0),
            running: Mutex::default(),
            has_started: AtomicBool::new(false),
        }))
    }

    /// Whether how many run may change.
    pub(super) fn is_elastic(&self) -> bool {
        self.0.count.least < self.0.count.most
    }

    /// Whether all instances that it began with have been ready once.
    pub(super) fn has_started(&self) -> bool {
        self.0.has_started.load(Ordering::Relaxed)
    }

    /// The instances that run.
    pub(super) fn instances(&self) -> Vec<InstanceView> {
        self.running().iter().map(|(_, view)| view.clone()).collect()
    }

    /// Has as many instances run from now on as an operator chose, as far as its bounds allow; how many that is.
    pub(super) fn choose(&self, wanted: u32) -> u32 {
        *self.chosen_at() = Some(Timestamp::now());
        self.set_count(wanted).0
    }

    /// Has as many instances run as was decided at `at`, as far as its bounds allow; how many that is, if it changes. Once an
    /// operator has chosen, only what `changes` their number counts, and was decided later.
    fn follow(&self, wanted: u32, changes: bool, at: Timestamp) -> Option<u32> {
        if self.chosen_at().is_some_and(|chosen_at| !changes || at <= chosen_at) {
            return None;
        }
        let (count, before) = self.set_count(wanted);
        (count != before).then_some(count)
    }

    /// How many run from now on, and did before.
    fn set_count(&self, wanted: u32) -> (u32, u32) {
        let wanted = wanted.clamp(self.0.count.least, self.0.count.most);
        (wanted, self.0.wanted.send_replace(wanted))
    }

    fn chosen_at(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.0.chosen_at.locked()
    }

    /// Replaces all instances, one after the other.
    pub(super) fn roll(&self) {
        self.0.rolls.send_modify(|rolls| *rolls += 1);
    }

    /// Runs instances until `stop`; then has all of them drain, and waits for that.
    pub(super) async fn run(&self, nodes: &Nodes, store: Arc<dyn SharedStore>, stop: CancellationToken) {
        let fleet = Fleet { spawner: self.clone(), store };
        let (mut wanted, mut rolls) = (self.0.wanted.subscribe(), self.0.rolls.subscribe());
        let (mut slots, mut next) = (Vec::new(), 1);
        loop {
            let count = *wanted.borrow_and_update() as usize;
            while slots.len() < count {
                slots.push(fleet.open(next));
                next += 1;
            }
            // The youngest go: the oldest are warm.
            let surplus: Vec<Slot> = slots.drain(count.min(slots.len())..).collect();
            end(surplus).await;
            tokio::select! {
                () = stop.cancelled() => break,
                _ = wanted.changed() => {}
                _ = rolls.changed() => self.replace_all(&fleet, &mut slots, &mut next, nodes, &stop).await,
                () = self.all_ready(nodes), if !self.has_started() => self.0.has_started.store(true, Ordering::Relaxed),
            }
        }
        end(slots).await;
    }

    async fn replace_all(
        &self,
        fleet: &Fleet,
        slots: &mut Vec<Slot>,
        next: &mut u32,
        nodes: &Nodes,
        stop: &CancellationToken,
    ) {
        tracing::info!(instances = slots.len(), "all instances are replaced, one after the other");
        for slot in slots {
            let new = fleet.open(*next);
            let ready = tokio::time::timeout(PATIENCE, self.is_ready(*next, nodes));
            *next += 1;
            let is_ready = tokio::select! {
                ready = ready => ready.is_ok(),
                () = stop.cancelled() => false,
            };
            if !is_ready {
                tracing::error!("a replacement did not get ready: the other instances stay");
                return end(vec![new]).await;
            }
            end(vec![std::mem::replace(slot, new)]).await;
        }
    }

    async fn all_ready(&self, nodes: &Nodes) {
        loop {
            let running = self.instances();
            if running.len() >= self.0.count.least as usize && running.iter().all(|view| is_well(nodes, &view.id)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn is_ready(&self, number: u32, nodes: &Nodes) {
        let id = || self.running().iter().find(|(slot, _)| *slot == number).map(|(_, view)| view.id.clone());
        while !id().is_some_and(|id| is_well(nodes, &id)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn note(&self, number: u32, view: Option<InstanceView>) {
        let mut running = self.running();
        running.retain(|(slot, _)| *slot != number);
        running.extend(view.map(|view| (number, view)));
    }

    fn running(&self) -> MutexGuard<'_, Vec<(u32, InstanceView)>> {
        self.0.running.locked()
    }
}

/// Whether the gateway has found a node well.
fn is_well(nodes: &Nodes, id: &str) -> bool {
    nodes.balancer.nodes().iter().any(|node| {
        let stats = node.stats();
        node.spec().id == id && stats.healthy && stats.checked_at.is_some()
    })
}

/// Gives slots up, all at the same time.
async fn end(slots: Vec<Slot>) {
    slots.iter().for_each(|slot| slot.give_up.cancel());
    for slot in slots {
        if let Err(error) = slot.task.await {
            tracing::error!(%error, slot = slot.number, "an instance's task died");
        }
    }
}

impl Fleet {
    fn open(&self, number: u32) -> Slot {
        let give_up = CancellationToken::new();
        let task = tokio::spawn(self.clone().keep(number, give_up.clone()));
        Slot { number, give_up, task }
    }

    /// Keeps an instance running until the slot is given up.
    async fn keep(self, number: u32, give_up: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        for restarts in 0.. {
            let begun = Instant::now();
            match Child::start(&self.spawner.0.launch, number, restarts) {
                Ok(mut child) => {
                    let view = InstanceView { id: child.id().to_owned(), pid: child.pid(), restarts };
                    self.spawner.note(number, Some(view));
                    let ended = tokio::select! {
                        ended = child.wait() => Some(ended),
                        () = give_up.cancelled() => None,
                    };
                    if ended.is_none() {
                        child.drain(self.spawner.0.launch.drain).await;
                    }
                    self.spawner.note(number, None);
                    self.forget(child.id()).await;
                    match ended {
                        None => return,
                        Some(status) => tracing::warn!(instance = child.id(), status, "an instance ended by itself"),
                    }
                }
                Err(error) => tracing::error!(%error, "an instance could not be started"),
            }
            pause = if begun.elapsed() >= STEADY { FIRST_PAUSE } else { (2 * pause).min(LONGEST_PAUSE) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = give_up.cancelled() => return,
            }
        }
    }

    /// Has the fleet forget an instance that may not have been able to say that it leaves.
    async fn forget(&self, id: &str) {
        if let Err(error) = self.store.leave(id).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                id,
                "the registry keeps an instance that has ended"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_chose_stays_until_something_else_is_decided() {
        let launch = Launch {
            program: "symbolon".into(),
            arguments: Vec::new(),
            prefix: String::new(),
            marks_lines: false,
            drain: Duration::ZERO,
        };
        let spawner = Spawner::new(SpawnCount { least: 1, most: 4 }, launch);
        let past = Timestamp::from_millis(Timestamp::now().millis() - 1000);
        assert_eq!(spawner.follow(2, false, past), Some(2), "a gateway that was away catches up");
        assert_eq!(spawner.follow(9, true, past), Some(4));
        assert_eq!(spawner.choose(3), 3);
        let later = Timestamp::from_millis(Timestamp::now().millis() + 1000);
        assert_eq!(spawner.follow(2, true, past), None, "it was decided without knowing of the choice");
        assert_eq!(spawner.follow(2, false, later), None, "it says how many there were");
        assert_eq!(spawner.follow(2, true, later), Some(2));
        assert_eq!(spawner.follow(2, true, later), None);
    }

    #[test]
    fn a_count_is_a_number_or_a_range() {
        let count = |text: &str| text.parse::<SpawnCount>().map(|count| (count.least, count.most)).ok();
        assert_eq!(count("3"), Some((3, 3)));
        assert_eq!(count("2..10"), Some((2, 10)));
        for wrong in ["", "0", "101", "3..2", "..", "2..", "-1", "a", "1..2..3"] {
            assert_eq!(count(wrong), None, "{wrong}");
        }
    }
}
