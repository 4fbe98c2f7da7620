//! How much this instance takes on at a time. What is too much is refused at once, so that what is let in is served about as
//! fast as ever; without a limit everything would be let in, and answered when nobody waits for it any more.
//!
//! Two classes have a gate each, so that neither crowds out the other: logins (whatever hashes a password) and all other
//! requests. Health, documents and the operators' endpoints pass no gate.
//!
//! **The limit** (`limit`) follows how long requests take: it falls while they take more than twice as long as unloaded,
//! and rises while they don't and it is used. What a request waits for besides this process must not lower it:
//! - A slow shard. Latencies are kept by shard (`lanes`), and what counts is the delay of the least delayed: a busy
//!   process, or a busy session store, delays all alike, and a shard only its own. Nor can its requests take every place:
//!   they have nearly twice an even share, and when it hangs they take none from the others.
//! - A slow disk: changes, which wait for it, are kept apart from reads.
//! - The queue of the hashing pool, which has its own deadline: logins are allowed that wait. Where the pool refuses one,
//!   the limit falls to what it took, so that a storm's excess is refused before its bodies are read.
//! - Everything at once, such as a session store that has become slow. Where the limit is at its least it can't be to blame:
//!   what is measured there becomes what is normal. Once requests have been slow for two seconds or so, it goes there for
//!   a moment to find out.
//! - The client: while it sends the body, its request has no place and its time does not count. Slow bodies hold up nobody.
//!
//! Only what was served counts: failures are fast, or as slow as some timeout.
//!
//! **Clients.** The last places are kept for clients that hold few, so one that takes all it gets keeps no other out.
//!
//! **The queue** (`queue`) is short in time and in length, and fair by client. Of one client it serves the first one first,
//! as long as that is in good time. Who finds it full is refused, unless another client has more waiting.
//!
//! Everything but this file and `permit` is without I/O or a clock, and simulated in `gate/simulation`.

mod gate;
mod held;
mod lanes;
mod latency;
mod limit;
mod permit;
mod queue;
mod stats;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gate::{Decision, Gate};
use lanes::Group;
pub use lanes::Kind;
use limit::Bounds;
pub use permit::Permit;
use permit::Waiter;
pub use stats::{AdmissionStats, Counts};
use tokio::sync::oneshot;

use crate::model::Network;

/// How long a request may wait for a place. Longer, and it would be refused so late that its client has waited in vain.
const QUEUE_DEADLINE: Duration = Duration::from_millis(50);

/// What is worked off in this time is never worth refusing anybody for, nor having them wait for a place.
const NEGLIGIBLE: Duration = Duration::from_millis(8);

/// How many requests a new instance lets in, which does not know yet what they take: what comes first is not refused. Of
/// logins never fewer, so that those that come at once may wait for the hashing pool.
const START: f64 = 128.0;

/// How many requests the instance may take on.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionPolicy {
    /// Whether it refuses any.
    pub enabled: bool,
    /// The least that a limit falls to, in requests.
    pub least: u32,
    /// The most that it rises to, in requests.
    pub most: u32,
    /// How long a login may wait for its password to be hashed.
    pub hash_deadline: Duration,
}

/// What a request is to the admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It hashes a password.
    Login,
    /// Anything else.
    Request,
}

/// The request can't be taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests are under way")]
pub struct Shed;

/// The admission of an instance; clones share it.
#[derive(Debug, Clone)]
pub struct Admission {
    enabled: bool,
    logins: Arc<SharedGate>,
    requests: Arc<SharedGate>,
}

/// A gate, and who waits at it.
type SharedGate = Mutex<Gate<Waiter>>;

fn lock(gate: &SharedGate) -> MutexGuard<'_, Gate<Waiter>> {
    // Nothing panics while it holds the lock.
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Admission {
    /// The gates, open as `policy` has it. Logins start with all there is: what bounds them is the hashing pool, and it says
    /// so. All others start with as many as most machines serve in good time.
    pub fn new(policy: AdmissionPolicy) -> Self {
        /// More than there can be.
        const NO_LIMIT: f64 = 1e12;
        let (least, most) =
            if policy.enabled { (policy.least.into(), policy.most.into()) } else { (NO_LIMIT, NO_LIMIT) };
        let gate = |start, bounds| Arc::new(Mutex::new(Gate::new(start, bounds, Instant::now())));
        let start = START.clamp(least, most);
        let patience = policy.hash_deadline / 2;
        Self {
            enabled: policy.enabled,
            logins: gate(most, Bounds { least: start, most, patience, negligible: Duration::ZERO }),
            requests: gate(start, Bounds { least, most, patience: Duration::ZERO, negligible: NEGLIGIBLE }),
        }
    }

    /// Lets a request in that needs `shard`, if it needs any; at once, or within the queue's deadline. Whoever drops the
    /// future leaves the queue.
    ///
    /// # Errors
    /// [`Shed`] if there are too many.
    pub async fn admit(&self, class: Class, shard: Option<&str>, kind: Kind, client: Network) -> Result<Permit, Shed> {
        let gate = match class {
            Class::Login => &self.logins,
            Class::Request => &self.requests,
        };
        let admitted = enter(gate, shard, kind, client).await;
        let told = admitted.is_err().then(|| lock(gate).tell(Instant::now())).flatten();
        if let Some(Counts { limit, delay, offered, shed, .. }) = told {
            tracing::warn!(?class, limit, ?delay, offered, shed, "requests are refused, as too many are under way");
        }
        admitted
    }

    /// What was let in and what was not.
    pub fn stats(&self) -> AdmissionStats {
        AdmissionStats {
            enabled: self.enabled,
            logins: lock(&self.logins).counts(),
            requests: lock(&self.requests).counts(),
        }
    }
}

/// Lets one in, if need be after waiting.
async fn enter(gate: &Arc<SharedGate>, shard: Option<&str>, kind: Kind, client: Network) -> Result<Permit, Shed> {
    let mut receiver = None;
    let (group, decision, sweeps) = {
        let mut gate = lock(gate);
        let group = Group { lane: gate.lane(shard), kind, client };
        let decision = gate.offer(group, Instant::now(), || {
            let (sender, waiting) = oneshot::channel();
            receiver = Some(waiting);
            Waiter { group, sender }
        });
        (group, decision, gate.begin_to_sweep())
    };
    if sweeps {
        tokio::spawn(sweep(Arc::clone(gate)));
    }
    match (decision, receiver) {
        (Decision::Admitted, _) => Ok(Permit::new(Arc::clone(gate), group)),
        (Decision::Waits(ticket), Some(receiver)) => {
            let mut place = Place { gate, ticket: Some(ticket) };
            let permit = receiver.await;
            place.ticket = None;
            permit.map_err(|_| Shed)
        }
        _ => Err(Shed),
    }
}

/// Refuses those whose time to wait is up for as long as anybody waits: one timer for all of them.
async fn sweep(gate: Arc<SharedGate>) {
    loop {
        let (late, next) = lock(&gate).sweep(Instant::now());
        // Which tells them.
        drop(late);
        let Some(next) = next else { return };
        tokio::time::sleep_until(next.into()).await;
    }
}

/// A place in the queue. Whoever drops it while it waits has gone away.
struct Place<'a> {
    gate: &'a SharedGate,
    ticket: Option<queue::Ticket>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            lock(self.gate).abandon(ticket);
        }
    }
}

#[cfg(test)]
mod tests;
