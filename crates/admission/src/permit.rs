//! Permits. A request is in flight until the last clone of its permit is dropped.
//!
//! Everything that works on the request holds a clone: its handler, a task that outlives the client, the bodies of request and
//! response. So a permit is returned regardless of how the request ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{ClientKey, SharedState, bulkheads::Group, lock, state::Completion};

/// Permission to be in flight. The request is in flight until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Permit<C: ClientKey>(Arc<Inner<C>>);

/// A request that waits for a permit.
#[derive(Debug)]
pub(super) struct Waiter<C: ClientKey> {
    pub group: Group<C>,
    pub sender: oneshot::Sender<Permit<C>>,
}

#[derive(Debug)]
struct Inner<C: ClientKey> {
    gate: Arc<SharedState<C>>,
    group: Group<C>,
    admitted_at: Instant,
    /// When the request was paused, in nanoseconds since `admitted_at`.
    paused_at: AtomicU64,
    paused: AtomicBool,
    /// The total time of all pauses.
    paused_nanos: AtomicU64,
    /// The latency without pauses; 0 unless the request was served.
    latency_nanos: AtomicU64,
    rejected_downstream: AtomicBool,
}

impl<C: ClientKey> Permit<C> {
    pub(super) fn new(gate: Arc<SharedState<C>>, group: Group<C>) -> Self {
        Self(Arc::new(Inner {
            gate,
            group,
            admitted_at: Instant::now(),
            paused_at: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            paused_nanos: AtomicU64::new(0),
            latency_nanos: AtomicU64::new(0),
            rejected_downstream: AtomicBool::new(false),
        }))
    }

    /// Marks the request as served. Only latencies of served requests influence the limit.
    pub fn mark_served(&self) {
        let latency = self.0.elapsed().saturating_sub(self.0.paused_nanos.load(Ordering::Relaxed));
        self.0.latency_nanos.store(latency.max(1), Ordering::Relaxed);
    }

    /// Marks the request as rejected by another limit behind the gate. That lowers the limit of the gate.
    pub fn mark_rejected_downstream(&self) {
        self.0.rejected_downstream.store(true, Ordering::Relaxed);
    }

    /// Stops counting the request as in flight until [`Self::resume`], for example while its client sends the body. The pause is
    /// not part of the latency.
    pub fn pause(&self) {
        if !self.0.paused.swap(true, Ordering::Relaxed) {
            self.0.paused_at.store(self.0.elapsed(), Ordering::Relaxed);
            let waiters = lock(&self.0.gate).pause(self.0.group, Instant::now());
            self.0.admit_waiting(waiters);
        }
    }

    /// Counts the request as in flight again, regardless of the limit.
    pub fn resume(&self) {
        if self.0.paused.swap(false, Ordering::Relaxed) {
            let paused = self.0.elapsed().saturating_sub(self.0.paused_at.load(Ordering::Relaxed));
            self.0.paused_nanos.fetch_add(paused, Ordering::Relaxed);
            lock(&self.0.gate).resume(self.0.group);
        }
    }
}

impl<C: ClientKey> Inner<C> {
    /// Returns the time since the admission, in nanoseconds.
    fn elapsed(&self) -> u64 {
        u64::try_from(self.admitted_at.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn admit_waiting(&self, waiters: Vec<Waiter<C>>) {
        for Waiter { group, sender } in waiters {
            // If the client has just gone away, the permit is dropped here.
            let _ = sender.send(Permit::new(Arc::clone(&self.gate), group));
        }
    }
}

impl<C: ClientKey> Drop for Inner<C> {
    fn drop(&mut self) {
        let latency = self.latency_nanos.load(Ordering::Relaxed);
        let completion = Completion {
            latency: (latency > 0).then(|| Duration::from_nanos(latency)),
            rejected_downstream: self.rejected_downstream.load(Ordering::Relaxed),
            paused: self.paused.load(Ordering::Relaxed),
        };
        let waiters = lock(&self.gate).finish(self.group, completion, Instant::now());
        self.admit_waiting(waiters);
    }
}
