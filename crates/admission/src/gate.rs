//! The asynchronous gate: a request gets a permit at once, waits for one, or is rejected.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    ClientKey, GateStats, Kind, Permit, Rejected,
    bulkheads::Group,
    limit::Bounds,
    permit::Waiter,
    queue::Ticket,
    state::{Decision, State},
};

/// The bounds of a gate's limit, and the delays that it tolerates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GatePolicy {
    /// The initial limit, in requests.
    pub initial: f64,
    /// Lower bound of the limit, in requests; at least 1.
    pub min: f64,
    /// Upper bound of the limit, in requests; not below `min`.
    pub max: f64,
    /// Additional delay that does not lower the limit. For requests that wait for another queue, with a deadline of its own.
    pub patience: Duration,
    /// The limit does not fall below the number of requests that are served in this time.
    pub negligible: Duration,
}

impl GatePolicy {
    /// Returns a policy with a limit from `min` to `max` requests that starts at `min`, without additional tolerance.
    pub fn new(min: u32, max: u32) -> Self {
        let (min, max) = (f64::from(min), f64::from(max));
        Self { initial: min, min, max, patience: Duration::ZERO, negligible: Duration::ZERO }
    }

    /// Returns a policy without a limit: every request is admitted and counted.
    pub fn unlimited() -> Self {
        /// More than any number of requests.
        const NO_LIMIT: f64 = 1e12;
        Self { initial: NO_LIMIT, min: NO_LIMIT, max: NO_LIMIT, patience: Duration::ZERO, negligible: Duration::ZERO }
    }
}

/// An adaptive concurrency limit with a queue. Clones share it.
#[derive(Debug)]
pub struct Gate<C: ClientKey>(Arc<SharedState<C>>);

/// The state that a gate's clones, permits and waiters share.
pub(super) type SharedState<C> = Mutex<State<C, Waiter<C>>>;

pub(super) fn lock<C: ClientKey>(state: &SharedState<C>) -> MutexGuard<'_, State<C, Waiter<C>>> {
    // No holder of the lock panics.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C: ClientKey> Clone for Gate<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: ClientKey> Gate<C> {
    /// Makes a gate without requests.
    pub fn new(policy: GatePolicy) -> Self {
        let GatePolicy { initial, min, max, patience, negligible } = policy;
        let bounds = Bounds { min, max, patience, negligible };
        Self(Arc::new(Mutex::new(State::new(initial, bounds, Instant::now()))))
    }

    /// Returns the counters and the current state.
    pub fn stats(&self) -> GateStats {
        lock(&self.0).stats()
    }

    /// Returns the statistics to log after a rejection; none if that was done less than ten seconds ago.
    pub fn rejection_report(&self) -> Option<GateStats> {
        lock(&self.0).rejection_report(Instant::now())
    }
}

impl<C: ClientKey + Send + Sync + 'static> Gate<C> {
    /// Admits a request at once or within [`QUEUE_DEADLINE`](crate::QUEUE_DEADLINE). `bulkhead` names the backend that the
    /// request needs, or none if it needs only what all requests need. Dropping the future leaves the queue. Needs a Tokio
    /// runtime with time enabled.
    ///
    /// # Errors
    /// [`Rejected`] if too many requests are in flight.
    pub async fn admit(&self, bulkhead: Option<&str>, kind: Kind, client: C) -> Result<Permit<C>, Rejected> {
        let mut receiver = None;
        let (group, decision, needs_sweeper) = {
            let mut state = lock(&self.0);
            let group = Group { bulkhead: state.bulkhead(bulkhead), kind, client };
            let decision = state.offer(group, Instant::now(), || {
                let (sender, waiting) = oneshot::channel();
                receiver = Some(waiting);
                Waiter { group, sender }
            });
            (group, decision, state.start_sweeper())
        };
        if needs_sweeper {
            tokio::spawn(sweep(Arc::clone(&self.0)));
        }
        match (decision, receiver) {
            (Decision::Admitted, _) => Ok(Permit::new(Arc::clone(&self.0), group)),
            (Decision::Queued(ticket), Some(receiver)) => {
                let mut queued = QueuedRequest { state: &self.0, ticket: Some(ticket) };
                let permit = receiver.await;
                queued.ticket = None;
                permit.map_err(|_| Rejected)
            }
            _ => Err(Rejected),
        }
    }
}

/// Rejects requests that have waited until their deadline, as long as any wait. One timer serves all of them.
async fn sweep<C: ClientKey>(state: Arc<SharedState<C>>) {
    loop {
        let (late, next) = lock(&state).take_expired(Instant::now());
        // Dropping a waiter closes its channel, which rejects its request.
        drop(late);
        let Some(next) = next else { return };
        tokio::time::sleep_until(next.into()).await;
    }
}

/// A request in the queue; leaves it when the future is dropped.
struct QueuedRequest<'a, C: ClientKey> {
    state: &'a SharedState<C>,
    ticket: Option<Ticket>,
}

impl<C: ClientKey> Drop for QueuedRequest<'_, C> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            lock(self.state).abandon(ticket);
        }
    }
}
