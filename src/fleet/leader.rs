//! The one instance that decides for all of them, by a lock with a lease.
//!
//! Who holds the lock knows it leads for less time than the lease lasts, counted from before it asked, so it stops by itself
//! before another one may begin, whether it can reach the store or not. The lease ends by the store's clock, and
//! [`MARGIN`] is for how much faster that may run. This holds as long as no process sleeps between looking and acting. Where it must hold in any case, what the leader does has to
//! carry its fence, which rises with every change of leader, and be refused under a higher one.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ProcessId;
use crate::{shared_store::LockStore, ticks::Ticks};

/// The lock's name in the shared store.
pub const LOCK: &str = "leader";

/// For how long the lock is taken.
pub const LEASE: Duration = Duration::from_secs(3);

/// How often it is extended, or tried for.
pub const RENEW_INTERVAL: Duration = Duration::from_secs(1);

/// How long before the lease ends who has it stops leading.
pub const MARGIN: Duration = Duration::from_millis(500);

/// Takes part in choosing the leader, and tells whether this instance is it; clones share that.
#[derive(Debug, Clone)]
pub struct Leader {
    store: Arc<dyn LockStore>,
    process: ProcessId,
    draining: CancellationToken,
    leadership: watch::Sender<Option<Leadership>>,
}

/// That an instance leads, for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leadership {
    fence: u64,
    until: Instant,
}

impl Leadership {
    fn new(fence: u64, asked_at: Instant) -> Self {
        Self { fence, until: asked_at + (LEASE - MARGIN) }
    }

    fn fence_at(self, now: Instant) -> Option<u64> {
        (now < self.until).then_some(self.fence)
    }
}

impl Leader {
    /// `process` does not lead yet, and no longer when `draining` is cancelled.
    pub fn new(store: Arc<dyn LockStore>, process: ProcessId, draining: CancellationToken) -> Self {
        Self { store, process, draining, leadership: watch::Sender::default() }
    }

    /// The fence to act under if this instance leads at `now`, which must be the current time.
    pub fn fence_now(&self, now: Instant) -> Option<u64> {
        self.leadership.borrow().and_then(|leadership| leadership.fence_at(now))
    }

    /// Waits until this instance begins to lead, or leads under another fence; at once if that has happened since `seen`.
    pub async fn begins(&self, seen: Option<u64>) -> u64 {
        let mut leaderships = self.leadership.subscribe();
        loop {
            let fence = leaderships.borrow_and_update().map(|leadership| leadership.fence);
            match fence {
                Some(fence) if Some(fence) != seen => return fence,
                // The sender is this value's own.
                _ => drop(leaderships.changed().await),
            }
        }
    }

    /// Takes or extends the lock until the instance drains or is stopped; then gives it up.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = Ticks::every(RENEW_INTERVAL);
        let mut failing = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.draining.cancelled() => break,
                () = ticks.next() => self.stand(&mut failing).await,
            }
        }
        self.step_down().await;
        stop.cancelled().await;
    }

    async fn stand(&self, failing: &mut bool) {
        let asked_at = tokio::time::Instant::now().into_std();
        match self.store.acquire_lock(LOCK, &self.process.holder(), LEASE).await {
            Ok(Some(fence)) => {
                *failing = false;
                let before = self.leadership.send_replace(Some(Leadership::new(fence, asked_at)));
                if before.is_none_or(|before| before.fence != fence) {
                    tracing::info!(fence, "this instance leads the fleet");
                }
            }
            Ok(None) => {
                *failing = false;
                if self.leadership.send_replace(None).is_some() {
                    tracing::info!("another instance leads the fleet");
                }
            }
            // Until it ends, the leadership stands: nobody else can have begun.
            Err(error) if !*failing => {
                *failing = true;
                tracing::warn!(error = &error as &dyn Error, "who leads the fleet can't be told");
            }
            Err(_) => {}
        }
    }

    /// Stops leading and lets another one begin at once.
    async fn step_down(&self) {
        let led = self.leadership.send_replace(None).is_some();
        // In any case: the lock may have been taken without an answer.
        match self.store.release_lock(LOCK, &self.process.holder()).await {
            Ok(()) if led => tracing::info!("this instance no longer leads the fleet"),
            Err(error) if led => {
                tracing::warn!(
                    error = &error as &dyn Error,
                    "the leader's lock was not released; its lease ends by itself"
                )
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
