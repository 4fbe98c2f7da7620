//! Leader election: the instance that holds a leased lock in the shared store decides for the fleet.
//!
//! A leader counts its lease from before it sent the request, and stops [`SAFETY_MARGIN`] before the lease ends. So it stops
//! before another instance can take the lock, even if it can't reach the store. The margin allows for a clock of the store
//! that runs faster.
//!
//! A process that is suspended between the check and the action can still act too late. Writes of the leader therefore carry
//! a fencing token, which rises with every change of leader; the store rejects a write with an older one.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ProcessId;
use crate::{shared_store::LockStore, ticks::Ticks};

/// Name of the lock in the shared store.
pub const LOCK: &str = "leader";

pub const LEASE: Duration = Duration::from_secs(3);

/// Interval of attempts to take or renew the lock.
pub const RENEW_INTERVAL: Duration = Duration::from_secs(1);

/// Time before the end of the lease at which a leader stops leading.
pub const SAFETY_MARGIN: Duration = Duration::from_millis(500);

/// Takes part in the election of the leader, and knows whether this instance leads. Clones share that state.
#[derive(Debug, Clone)]
pub struct Leader {
    store: Arc<dyn LockStore>,
    process: ProcessId,
    draining: CancellationToken,
    leadership: watch::Sender<Option<Leadership>>,
}

/// A held lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leadership {
    fence: u64,
    until: Instant,
}

impl Leadership {
    fn new(fence: u64, asked_at: Instant) -> Self {
        Self { fence, until: asked_at + (LEASE - SAFETY_MARGIN) }
    }

    fn fence_at(self, now: Instant) -> Option<u64> {
        (now < self.until).then_some(self.fence)
    }
}

impl Leader {
    /// `process` gives up leadership when `draining` is cancelled.
    pub fn new(store: Arc<dyn LockStore>, process: ProcessId, draining: CancellationToken) -> Self {
        Self { store, process, draining, leadership: watch::Sender::default() }
    }

    /// Returns the fencing token if this instance leads at `now`, which must be the current time.
    pub fn fence_now(&self, now: Instant) -> Option<u64> {
        self.leadership.borrow().and_then(|leadership| leadership.fence_at(now))
    }

    /// Waits until this instance leads under another fencing token than `seen`, and returns that token.
    pub async fn wait_for_leadership(&self, seen: Option<u64>) -> u64 {
        let mut leaderships = self.leadership.subscribe();
        loop {
            let fence = leaderships.borrow_and_update().map(|leadership| leadership.fence);
            match fence {
                Some(fence) if Some(fence) != seen => return fence,
                // The channel stays open: `self` owns the sender.
                _ => drop(leaderships.changed().await),
            }
        }
    }

    /// Takes or renews the lock until the instance drains or is stopped; then releases it.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = Ticks::every(RENEW_INTERVAL);
        let mut failing = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.draining.cancelled() => break,
                () = ticks.next() => self.acquire_or_renew(&mut failing).await,
            }
        }
        self.step_down().await;
        stop.cancelled().await;
    }

    async fn acquire_or_renew(&self, failing: &mut bool) {
        let asked_at = tokio::time::Instant::now().into_std();
        match self.store.acquire_lock(LOCK, &self.process.holder(), LEASE).await {
            Ok(Some(fence)) => {
                *failing = false;
                let before = self.leadership.send_replace(Some(Leadership::new(fence, asked_at)));
                if before.is_none_or(|before| before.fence != fence) {
                    tracing::info!(fence, "became leader of the fleet");
                }
            }
            Ok(None) => {
                *failing = false;
                if self.leadership.send_replace(None).is_some() {
                    tracing::info!("lost leadership; another instance leads the fleet");
                }
            }
            // The leadership stays valid until its lease ends.
            Err(error) if !*failing => {
                *failing = true;
                tracing::warn!(error = &error as &dyn Error, "leader lock unavailable; leadership ends with the lease");
            }
            Err(_) => {}
        }
    }

    /// Stops leading, and releases the lock so that another instance can take it at once.
    async fn step_down(&self) {
        let led = self.leadership.send_replace(None).is_some();
        // Also if this instance does not lead: an attempt may have taken the lock although its answer was lost.
        match self.store.release_lock(LOCK, &self.process.holder()).await {
            Ok(()) if led => tracing::info!("released leadership of the fleet"),
            Err(error) if led => {
                tracing::warn!(
                    error = &error as &dyn Error,
                    "could not release the leader lock; its lease expires by itself"
                )
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
