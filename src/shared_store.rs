//! What all instances share besides the shards: sessions, throttle, instance registry, what
//! operators tell the balancers, notes, and locks.
//!
//! One trait for each concern, so that each system sees only its own; [`SharedStore`] is all of them in one place.
//! Instants come from the caller where a decision depends on them, and callers go by the store's clock
//! ([`crate::clock::SHARED`]), as those of instances may differ. Which instances are there, who holds a lock, and when a
//! revocation expires, the store decides itself.

mod balancing;
mod notes;
pub mod redis;
mod revocation;
pub mod sqlite;

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use symbolon_batcher::BatchStats;
use uuid::Uuid;

pub use self::{
    balancing::{BalancerControl, Balancing, NodeRecord},
    notes::NoteStore,
    revocation::{LoginStart, MAX_REVOCATION_LIFETIME, PendingRevocation, RevocationSelector, RevocationStep},
};
use crate::{
    breaker::Circuit,
    clock::Timestamp,
    log::repeats::Repeats,
    model::{Generation, Load, LoginName, SessionId, StoredSession, UserId, UserSnapshot},
    store_error::StoreError,
};

/// Everything that instances share besides the shards.
#[async_trait]
pub trait SharedStore:
    SessionStore + ThrottleStore + InstanceRegistry + BalancerControl + NoteStore + LockStore
{
    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Removes what has expired: sessions, generations, full throttle buckets, forgotten instances, and ids that
    /// were taken out of the balancers and gone for a day. Returns how many sessions went.
    async fn reap(&self, now: Timestamp) -> Result<u64, StoreError>;

    /// The time by the store's clock; none if that is the machine's.
    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// Whether requests to the store pass; a store without a network between has nothing to break.
    fn circuit(&self) -> Circuit {
        Circuit::Closed
    }

    /// How reads of sessions were joined into batches; none if each is read on its own.
    fn batching(&self) -> Option<BatchStats> {
        None
    }

    /// Closes connections.
    async fn close(&self);
}

/// How exact totals are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accuracy {
    /// Counts what the store holds, those sessions included that have ended and are not yet removed.
    UpperBound,
    /// Estimated from a sample.
    Estimate,
}

/// How many sessions there are, at a cost that does not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTotals {
    /// Sessions that the store holds.
    pub sessions: u64,
    /// What they take, in bytes.
    pub bytes: u64,
    /// How exact both are.
    pub accuracy: Accuracy,
}

/// Sessions.
#[async_trait]
pub trait SessionStore: Send + Sync + Debug {
    /// The user's generation, and whether revocations are pending, in one round trip. A revocation that lasts for longer than
    /// [`MAX_REVOCATION_LIFETIME`] from now, as the store's clock went back, is made to expire now.
    async fn begin_login(&self, user_id: UserId) -> Result<LoginStart, StoreError>;

    /// Adds a session if the user's generation is still `generation`; a first one starts at a random value, and lives
    /// as long as any session made under it. Beyond `limit` sessions the oldest give way. The snapshot replaces one of
    /// a lower version.
    async fn create_session(
        &self,
        session: &StoredSession,
        generation: Option<Generation>,
        snapshot: &UserSnapshot,
        limit: u32,
    ) -> Result<bool, StoreError>;

    /// A session that is alive at `now`, its generation current, with the user's snapshot. Using it moves its idle
    /// expiry to `idle` from now, never past its absolute one, to within a hundredth of `idle`.
    async fn use_session(
        &self,
        user_id: UserId,
        session_id: SessionId,
        idle: Duration,
        now: Timestamp,
    ) -> Result<Option<(StoredSession, UserSnapshot)>, StoreError>;

    /// The user's live sessions, oldest first.
    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<StoredSession>, StoreError>;

    /// Ends a session; false if there was none.
    async fn end_session(&self, user_id: UserId, session_id: SessionId) -> Result<bool, StoreError>;

    /// Raises the generation, which ends all of the user's sessions; `keep` survives if it was alive. Where there is no
    /// generation it makes one that lives until `keep_until`, so that a login which found none can tell. A revocation's
    /// first step makes it pending in the same transaction, its second one ends that.
    async fn raise_generation(
        &self,
        user_id: UserId,
        keep: Option<SessionId>,
        step: RevocationStep,
        keep_until: Timestamp,
    ) -> Result<(), StoreError>;

    /// Removes pending revocations; those that are not there are no error.
    async fn remove_revocations(&self, user_id: UserId, which: RevocationSelector) -> Result<(), StoreError>;

    /// Raises the generation and erases all else that is kept of the user: the second step of `revocation`, if it is one.
    /// What remains is the generation, until `keep_until`, and what other revocations are pending.
    async fn forget_user(
        &self,
        user_id: UserId,
        revocation: Option<Uuid>,
        keep_until: Timestamp,
    ) -> Result<(), StoreError>;

    /// Replaces the user's snapshot if this one's version is higher. Where there is no generation it makes one that lives
    /// until `keep_until`, so that a first login under way, which has read an older user, can tell.
    async fn put_snapshot(
        &self,
        user_id: UserId,
        snapshot: &UserSnapshot,
        keep_until: Timestamp,
    ) -> Result<(), StoreError>;

    /// Replaces a snapshot of a lower version; where there is none, nothing is made. Does not wait for replicas: a snapshot
    /// that a failover undoes is replaced again. Returns whether it was replaced.
    async fn replace_snapshot(&self, user_id: UserId, snapshot: &UserSnapshot) -> Result<bool, StoreError>;

    /// How many sessions there are.
    async fn session_totals(&self) -> Result<SessionTotals, StoreError>;
}

/// A token bucket: `burst` charges at once, then one each `interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// What is counted, as a digest.
    pub key: [u8; 32],
    /// How many charges it takes when full.
    pub burst: u32,
    /// How long until one charge is given back.
    pub interval: Duration,
    /// How many are charged or refunded at once, at most `burst`.
    pub charges: u32,
}

/// What a charge led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// Every bucket had room and has been charged.
    Accepted,
    /// At least one had none, and none has been charged.
    Refused {
        /// When all of them will have room, if nobody else charges them.
        retry_after: Duration,
        /// The one that will have it last.
        bucket: Bucket,
    },
}

/// Notes that a session's idle time was not extended. It is alive all the same.
fn not_prolonged(error: &StoreError) {
    static FAILURES: Repeats = Repeats::new(|count| tracing::warn!(count, "more sessions were not prolonged"));
    FAILURES.record(|| tracing::warn!(error = error as &dyn std::error::Error, "a session was not prolonged"));
}

/// Throttling of password checks.
#[async_trait]
pub trait ThrottleStore: Send + Sync + Debug {
    /// Charges all buckets or none.
    async fn charge(&self, buckets: &[Bucket], now: Timestamp) -> Result<Charge, StoreError>;

    /// Gives the charges back to each.
    async fn refund(&self, buckets: &[Bucket], now: Timestamp) -> Result<(), StoreError>;
}

/// What an instance says of itself once a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// Its id, unique in the fleet.
    pub id: String,
    /// Where others reach it.
    pub url: String,
    /// Its share of the traffic relative to others.
    pub weight: u32,
    /// The region it runs in.
    pub region: String,
    /// The zone it runs in.
    pub zone: String,
    /// The version it runs.
    pub version: String,
    /// Whether it is about to leave.
    pub draining: bool,
    /// Requests under way.
    pub current_connections: u64,
    /// The most requests that it takes at a time.
    pub max_connections: u64,
    /// Mean time to answer, in seconds.
    pub average_response_time: f64,
    /// What it is offered and uses; none before it has measured that.
    #[serde(default)]
    pub load: Option<Load>,
    /// Which process said it, so that two with one id are told apart; none by older versions.
    #[serde(default)]
    pub process_id: Option<Uuid>,
}

/// The instances of the fleet.
#[async_trait]
pub trait InstanceRegistry: Send + Sync + Debug {
    /// Registers or refreshes an instance. Returns what was last said under its id, if anything.
    async fn heartbeat(&self, record: &InstanceRecord) -> Result<Option<InstanceRecord>, StoreError>;

    /// The instances seen within the last `age`, by id, and when each was last seen.
    async fn instances(&self, age: Duration) -> Result<BTreeMap<String, (InstanceRecord, Timestamp)>, StoreError>;

    /// Forgets an instance.
    async fn leave(&self, instance_id: &str) -> Result<(), StoreError>;
}

/// Locks among instances, each with a fence: a number that rises with every change of holder.
#[async_trait]
pub trait LockStore: Send + Sync + Debug {
    /// Takes or extends a lock for `lease`, which is the same for all who want it; `None` while another holder has it. A
    /// holder that was late gets a new fence, so what it did under the old one can be told apart. A lock that ends later than
    /// a lease from now, as the store's clock went back, is shortened to one.
    async fn acquire_lock(&self, name: &str, holder: &str, lease: Duration) -> Result<Option<u64>, StoreError>;

    /// Gives the lock up if this holder has it.
    async fn release_lock(&self, name: &str, holder: &str) -> Result<(), StoreError>;

    /// Who has the lock, and its fence.
    async fn holder(&self, name: &str) -> Result<Option<(String, u64)>, StoreError>;
}

impl UserSnapshot {
    /// What sessions show of this user.
    pub fn of(user: &crate::model::User) -> Self {
        Self {
            version: user.version,
            login_name: LoginName::as_str(&user.login_name).to_owned(),
            permissions: user.permissions,
            preferences: user.preferences.clone(),
        }
    }
}
