//! State that all instances share besides the shards: sessions, throttle buckets, the instance registry, load-balancing
//! settings, notes, and locks.
//!
//! Each concern has its own trait, so that each subsystem depends only on what it uses; [`SharedStore`] combines them. Where a
//! decision depends on the time, the caller passes it. Callers use the store's clock ([`crate::clock::SHARED`]), because the
//! clocks of instances may differ. For heartbeats, locks, and the expiry of revocations the store uses its clock itself.

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

/// All state that instances share besides the shards.
#[async_trait]
pub trait SharedStore:
    SessionStore + ThrottleStore + InstanceRegistry + BalancerControl + NoteStore + LockStore
{
    /// Checks that the store answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Deletes expired sessions and generations, full throttle buckets, instances without heartbeats, and removed nodes that
    /// left the fleet a day ago. Returns the number of deleted sessions.
    async fn reap(&self, now: Timestamp) -> Result<u64, StoreError>;

    /// Returns the time of the store's clock, or `None` if the store uses this machine's clock.
    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// Returns the state of the circuit breaker. An embedded store has none, so it is always closed.
    fn circuit(&self) -> Circuit {
        Circuit::Closed
    }

    /// Returns batch statistics of session reads, or `None` if they are not batched.
    fn batching(&self) -> Option<BatchStats> {
        None
    }

    async fn close(&self);
}

/// Accuracy of session totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accuracy {
    /// Includes sessions that have ended and are not yet deleted.
    UpperBound,
    /// Estimated from a sample.
    Estimate,
}

/// Number and size of all sessions, at a cost that does not depend on their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTotals {
    /// Number of sessions.
    pub sessions: u64,
    /// Memory or storage of the sessions, in bytes.
    pub bytes: u64,
    pub accuracy: Accuracy,
}

/// Sessions, generations and user snapshots.
#[async_trait]
pub trait SessionStore: Send + Sync + Debug {
    /// Returns the user's generation and pending revocations, in one round trip. A revocation that would last longer than
    /// [`MAX_REVOCATION_LIFETIME`] from now, because the store's clock was set back, expires now.
    async fn begin_login(&self, user_id: UserId) -> Result<LoginStart, StoreError>;

    /// Creates a session if the user's generation is still `generation`, and returns whether it did. If the user has no
    /// generation, one starts at a random value; it is kept as long as any session created under it. The oldest sessions beyond
    /// `limit` end. The snapshot replaces one of a lower version.
    async fn create_session(
        &self,
        session: &StoredSession,
        generation: Option<Generation>,
        snapshot: &UserSnapshot,
        limit: u32,
    ) -> Result<bool, StoreError>;

    /// Returns a session of the current generation that is live at `now`, with the user's snapshot. Extends its idle expiry to
    /// `idle` from now, at most to its absolute expiry, to within a hundredth of `idle`.
    async fn use_session(
        &self,
        user_id: UserId,
        session_id: SessionId,
        idle: Duration,
        now: Timestamp,
    ) -> Result<Option<(StoredSession, UserSnapshot)>, StoreError>;

    /// Returns the user's live sessions, oldest first.
    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<StoredSession>, StoreError>;

    /// Ends a session. Returns `false` if there was none.
    async fn end_session(&self, user_id: UserId, session_id: SessionId) -> Result<bool, StoreError>;

    /// Raises the user's generation, which ends all sessions except `keep`, if that one was live. If there is no generation,
    /// creates one until `keep_until`, so that a concurrent login which found none detects the change. The first step of a
    /// revocation records it as pending in the same transaction, and the second step removes it.
    async fn raise_generation(
        &self,
        user_id: UserId,
        keep: Option<SessionId>,
        step: RevocationStep,
        keep_until: Timestamp,
    ) -> Result<(), StoreError>;

    /// Removes pending revocations. Missing ones are not an error.
    async fn remove_revocations(&self, user_id: UserId, which: RevocationSelector) -> Result<(), StoreError>;

    /// Raises the user's generation and deletes everything else about the user. It is the second step of `revocation`, if
    /// there is one. The generation remains until `keep_until`, and other pending revocations remain.
    async fn forget_user(
        &self,
        user_id: UserId,
        revocation: Option<Uuid>,
        keep_until: Timestamp,
    ) -> Result<(), StoreError>;

    /// Replaces the user's snapshot if the version of `snapshot` is higher. If there is no generation, creates one until
    /// `keep_until`, so that a concurrent first login which has read an older version of the user detects the change.
    async fn put_snapshot(
        &self,
        user_id: UserId,
        snapshot: &UserSnapshot,
        keep_until: Timestamp,
    ) -> Result<(), StoreError>;

    /// Replaces an existing snapshot of a lower version, and returns whether it did. Does not wait for replicas, because a
    /// replacement that a failover undoes is repeated.
    async fn replace_snapshot(&self, user_id: UserId, snapshot: &UserSnapshot) -> Result<bool, StoreError>;

    /// Returns the number and size of all sessions.
    async fn session_totals(&self) -> Result<SessionTotals, StoreError>;
}

/// Token bucket: `burst` charges at once, then one per `interval`. Also states how much to charge or refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Digest of what is counted.
    pub key: [u8; 32],
    /// Number of charges that a full bucket accepts.
    pub burst: u32,
    /// Time after which one charge is restored.
    pub interval: Duration,
    /// Number of charges or refunds of this request; at most `burst`.
    pub charges: u32,
}

/// Result of charging buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// All buckets had room and have been charged.
    Accepted,
    /// At least one bucket had no room, and none has been charged.
    Refused {
        /// Time until all buckets have room, without further charges.
        retry_after: Duration,
        /// The bucket that takes longest to have room.
        bucket: Bucket,
    },
}

/// Logs that the idle expiry of a session was not extended. The session remains valid.
fn log_extension_failure(error: &StoreError) {
    static FAILURES: Repeats =
        Repeats::new(|count| tracing::warn!(count, "extending idle timeouts of sessions failed again"));
    FAILURES.record(|| {
        tracing::warn!(error = error as &dyn std::error::Error, "extending the idle timeout of a session failed")
    });
}

/// Throttling of password checks.
#[async_trait]
pub trait ThrottleStore: Send + Sync + Debug {
    /// Charges all buckets, or none if one has no room.
    async fn charge(&self, buckets: &[Bucket], now: Timestamp) -> Result<Charge, StoreError>;

    /// Refunds the charges of each bucket.
    async fn refund(&self, buckets: &[Bucket], now: Timestamp) -> Result<(), StoreError>;
}

/// State that an instance publishes every second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// Unique in the fleet.
    pub id: String,
    /// Base URL at which gateways reach it.
    pub url: String,
    /// Share of the traffic relative to other instances.
    pub weight: u32,
    pub region: String,
    pub zone: String,
    /// Version of the program.
    pub version: String,
    /// Whether it is shutting down and gets no new requests.
    pub draining: bool,
    /// Number of requests in progress.
    pub current_connections: u64,
    /// Maximum number of concurrent requests.
    pub max_connections: u64,
    /// Mean response time, in seconds.
    pub average_response_time: f64,
    /// Offered load and utilization; `None` before the first measurement.
    #[serde(default)]
    pub load: Option<Load>,
    /// Id of the process, to detect two processes with the same instance id; `None` in records of older versions.
    #[serde(default)]
    pub process_id: Option<Uuid>,
}

/// Registry of the instances of the fleet.
#[async_trait]
pub trait InstanceRegistry: Send + Sync + Debug {
    /// Registers or refreshes an instance. Returns the previous record with its id.
    async fn heartbeat(&self, record: &InstanceRecord) -> Result<Option<InstanceRecord>, StoreError>;

    /// Returns the instances with a heartbeat within the last `age`, by id, with the time of the last heartbeat.
    async fn instances(&self, age: Duration) -> Result<BTreeMap<String, (InstanceRecord, Timestamp)>, StoreError>;

    /// Removes an instance.
    async fn leave(&self, instance_id: &str) -> Result<(), StoreError>;
}

/// Locks between instances. Each has a fencing token, which rises with every change of the holder.
#[async_trait]
pub trait LockStore: Send + Sync + Debug {
    /// Takes or extends a lock for `lease` and returns its fencing token, or `None` while another holder has it. All holders of a
    /// lock use the same `lease`. A holder whose lease had expired gets a new token, so that its earlier work can be told apart.
    /// A lock that would last longer than a lease from now, because the store's clock was set back, is shortened to a lease.
    async fn acquire_lock(&self, name: &str, holder: &str, lease: Duration) -> Result<Option<u64>, StoreError>;

    /// Releases the lock if `holder` has it.
    async fn release_lock(&self, name: &str, holder: &str) -> Result<(), StoreError>;

    /// Returns the holder of the lock and its fencing token.
    async fn holder(&self, name: &str) -> Result<Option<(String, u64)>, StoreError>;
}

impl UserSnapshot {
    /// Returns the data of `user` that is stored with sessions.
    pub fn of(user: &crate::model::User) -> Self {
        Self {
            version: user.version,
            login_name: LoginName::as_str(&user.login_name).to_owned(),
            permissions: user.permissions,
            preferences: user.preferences.clone(),
        }
    }
}
