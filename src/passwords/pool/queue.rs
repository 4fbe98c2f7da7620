//! [`FairQueue`] behind a lock, with the notification of those whose turn it is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use tokio::sync::oneshot;

use super::fair::{FairQueue, HashKind, QueueLimits};
use crate::{model::Network, sync::MutexExt};

#[derive(Debug)]
pub(super) struct HashQueue(Mutex<State>);

#[derive(Debug)]
struct State {
    fair: FairQueue,
    /// Notifies the waiters of their turn, by slot number. Dropping a sender tells its waiter that the slot was evicted.
    waiting: HashMap<u64, oneshot::Sender<()>>,
    /// Maximum of hashes computed at a time.
    concurrency: usize,
}

/// A slot in the queue for one hash, held until the hash is computed. Dropping it frees the slot.
#[derive(Debug)]
#[must_use = "dropping a slot frees it"]
pub struct QueueSlot {
    queue: Arc<HashQueue>,
    number: u64,
    pub(super) reserved_at: Instant,
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        let mut state = self.queue.0.locked();
        state.fair.leave(self.number);
        state.waiting.remove(&self.number);
        state.begin();
    }
}

impl QueueSlot {
    /// Resolves when the hash may begin. Fails if the slot is evicted first.
    pub(super) fn turn(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.queue.0.locked();
        if state.fair.ready(self.number) {
            state.waiting.insert(self.number, sender);
            state.begin();
        }
        receiver
    }
}

impl HashQueue {
    pub(super) fn new(concurrency: usize) -> Self {
        Self(Mutex::new(State { fair: FairQueue::default(), waiting: HashMap::new(), concurrency }))
    }

    /// Reserves a slot, if there is one for this client. `limits` is called with the maximum of hashes computed at a time.
    pub(super) fn enter(
        self: &Arc<Self>,
        client: Network,
        kind: HashKind,
        limits: impl FnOnce(usize) -> QueueLimits,
    ) -> Option<QueueSlot> {
        let now = Instant::now();
        let mut state = self.0.locked();
        let limits = limits(state.concurrency);
        let entry = state.fair.enter(client, kind, &limits, now);
        for number in entry.evicted {
            state.waiting.remove(&number);
        }
        entry.slot.map(|number| QueueSlot { queue: Arc::clone(self), number, reserved_at: now })
    }

    /// Sets how many hashes are computed at a time, at least one. Running ones are not interrupted.
    pub(super) fn resize(&self, concurrency: usize) {
        let mut state = self.0.locked();
        state.concurrency = concurrency.max(1);
        state.begin();
    }

    pub(super) fn concurrency(&self) -> usize {
        self.0.locked().concurrency
    }

    /// Returns the number of slots, and how many of them have their hash computed.
    pub(super) fn len_and_running(&self) -> (usize, usize) {
        let state = self.0.locked();
        (state.fair.len(), state.fair.running())
    }
}

impl State {
    /// Begins hashes up to the maximum.
    fn begin(&mut self) {
        while self.fair.running() < self.concurrency {
            let Some(number) = self.fair.begin_next() else { return };
            // A waiter that has gone drops its slot, which lets the next one begin.
            if let Some(waiting) = self.waiting.remove(&number) {
                let _ = waiting.send(());
            }
        }
    }
}
