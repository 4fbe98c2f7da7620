//! The queue that places wait in: [`FairQueue`] behind a lock, and whom to tell that it is its turn.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
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
    /// Who waits for the turn of a place. Dropping one tells it that the place was given up.
    waiting: HashMap<u64, oneshot::Sender<()>>,
    /// How many hashes are computed at a time.
    concurrency: usize,
}

/// A place in the queue, and later the slot that its hash is computed in; dropping it gives it up.
#[derive(Debug)]
#[must_use = "a place is for one hash"]
pub struct Place {
    queue: Arc<HashQueue>,
    number: u64,
    /// When it was given.
    pub(super) since: Instant,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.fair.leave(self.number);
        state.waiting.remove(&self.number);
        state.begin();
    }
}

impl Place {
    /// Resolves when its hash may be begun; fails if the place is given up instead.
    pub(super) fn turn(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.queue.lock();
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

    /// A place, if there is one for this client. `limits` are made for how many hashes are computed at a time.
    pub(super) fn enter(
        self: &Arc<Self>,
        client: Network,
        kind: HashKind,
        limits: impl FnOnce(usize) -> QueueLimits,
    ) -> Option<Place> {
        let now = Instant::now();
        let mut state = self.lock();
        let limits = limits(state.concurrency);
        let entry = state.fair.enter(client, kind, &limits, now);
        for number in entry.evicted {
            state.waiting.remove(&number);
        }
        entry.place.map(|number| Place { queue: Arc::clone(self), number, since: now })
    }

    /// From now on so many hashes are computed at a time, one at least; what is being computed ends first.
    pub(super) fn resize(&self, concurrency: usize) {
        let mut state = self.lock();
        state.concurrency = concurrency.max(1);
        state.begin();
    }

    /// How many hashes are computed at a time.
    pub(super) fn concurrency(&self) -> usize {
        self.lock().concurrency
    }

    /// How many places there are, and how many of them have their hash computed.
    pub(super) fn len_and_running(&self) -> (usize, usize) {
        let state = self.lock();
        (state.fair.len(), state.fair.running())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.locked()
    }
}

impl State {
    /// Begins as many hashes as there are free slots.
    fn begin(&mut self) {
        while self.fair.running() < self.concurrency {
            let Some(number) = self.fair.begin_next() else { return };
            // Who no longer waits drops its place, which frees the slot again.
            if let Some(waiting) = self.waiting.remove(&number) {
                let _ = waiting.send(());
            }
        }
    }
}
