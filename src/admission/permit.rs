//! Leave to be under way.
//!
//! Clones are for all who work on the request: the task that finishes a change though its client is gone, the body of the
//! request, the body of the response. The place is free once the last of them is dropped, so no way that a request can end
//! loses one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{SharedGate, gate::Ending, lanes::Group, lock};

/// Leave to be under way; clones share one place.
#[derive(Debug, Clone)]
pub struct Permit(Arc<Held>);

/// One that waits for a place.
#[derive(Debug)]
pub(super) struct Waiter {
    pub group: Group,
    pub sender: oneshot::Sender<Permit>,
}

#[derive(Debug)]
struct Held {
    gate: Arc<SharedGate>,
    group: Group,
    since: Instant,
    /// Since `since`, when the place was given back for the client to go on.
    paused_at: AtomicU64,
    paused: AtomicBool,
    /// How long that has been in all.
    paused_nanos: AtomicU64,
    /// How long it took, if it was served.
    took_nanos: AtomicU64,
    refused: AtomicBool,
}

impl Permit {
    pub(super) fn new(gate: Arc<SharedGate>, group: Group) -> Self {
        Self(Arc::new(Held {
            gate,
            group,
            since: Instant::now(),
            paused_at: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            paused_nanos: AtomicU64::new(0),
            took_nanos: AtomicU64::new(0),
            refused: AtomicBool::new(false),
        }))
    }

    /// Says that the request was served: how long it took says something about others.
    pub fn served(&self) {
        let took = self.0.elapsed().saturating_sub(self.0.paused_nanos.load(Ordering::Relaxed));
        self.0.took_nanos.store(took.max(1), Ordering::Relaxed);
    }

    /// Says that something behind the gate refused it for want of room.
    pub fn refused(&self) {
        self.0.refused.store(true, Ordering::Relaxed);
    }

    /// Gives the place back until [`Self::resume`], while the request waits for its client.
    pub fn pause(&self) {
        if !self.0.paused.swap(true, Ordering::Relaxed) {
            self.0.paused_at.store(self.0.elapsed(), Ordering::Relaxed);
            let waiters = lock(&self.0.gate).pause(self.0.group, Instant::now());
            self.0.let_in(waiters);
        }
    }

    /// Goes on, with a place again.
    pub fn resume(&self) {
        if self.0.paused.swap(false, Ordering::Relaxed) {
            let paused = self.0.elapsed().saturating_sub(self.0.paused_at.load(Ordering::Relaxed));
            self.0.paused_nanos.fetch_add(paused, Ordering::Relaxed);
            lock(&self.0.gate).resume(self.0.group);
        }
    }
}

impl Held {
    /// Since it was let in, in nanoseconds.
    fn elapsed(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn let_in(&self, waiters: Vec<Waiter>) {
        for Waiter { group, sender } in waiters {
            // One that has just gone away leaves its permit here, where it is dropped.
            let _ = sender.send(Permit::new(Arc::clone(&self.gate), group));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let took = self.took_nanos.load(Ordering::Relaxed);
        let ending = Ending {
            took: (took > 0).then(|| Duration::from_nanos(took)),
            refused: self.refused.load(Ordering::Relaxed),
            paused: self.paused.load(Ordering::Relaxed),
        };
        let waiters = lock(&self.gate).finish(self.group, ending, Instant::now());
        self.let_in(waiters);
    }
}
