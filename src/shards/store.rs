//! Storage interface of a shard: users by id, and claims by login name.

use std::time::Duration;

use async_trait::async_trait;
use symbolon_batcher::BatchStats;
use uuid::Uuid;

use super::BulkStore;
use crate::{
    breaker::Circuit,
    clock::Timestamp,
    model::{LoginName, PasswordHash, User, UserId},
    store_error::StoreError,
};

/// Claim of a user on a login name. It is valid if and only if the user's row contains that login name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub login_name: LoginName,
    pub user_id: UserId,
    /// Id of the attempt that made the claim; confirming and releasing require it.
    pub claim_id: Uuid,
}

/// A claim as the shard stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredClaim {
    pub claim: Claim,
    /// Time of the claim by the shard's clock.
    pub claimed_at: Timestamp,
    /// Time of this read by the shard's clock.
    pub read_at: Timestamp,
    /// Whether the claimant has confirmed that its user's row is written.
    pub confirmed: bool,
}

/// Storage of one shard. Conditional writes return whether their condition held; if not, they changed nothing.
#[async_trait]
pub trait ShardStore: BulkStore + std::fmt::Debug {
    /// Checks that the shard answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Returns the time after which a statement has ended or its result is no longer awaited.
    fn statement_timeout(&self) -> Duration;

    /// Returns the live row of a user.
    async fn find_user(&self, user_id: UserId) -> Result<Option<User>, StoreError>;

    /// Inserts a user. Returns `false` if the id has a row already, live or void.
    async fn insert_user(&self, epoch: i64, user: &User) -> Result<bool, StoreError>;

    /// Replaces the live row of `user` if it has version `expected`.
    async fn update_user(&self, user: &User, expected: i64) -> Result<bool, StoreError>;

    /// Replaces the password hash if it is still `old`, without raising the version.
    async fn rehash(&self, user_id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<bool, StoreError>;

    /// Deletes the live row of a user if it has this version.
    async fn delete_user(&self, user_id: UserId, version: i64) -> Result<bool, StoreError>;

    /// Inserts a void row, which prevents that this user is inserted later. Returns `false` if the id has a row already.
    async fn void_user(&self, epoch: i64, user_id: UserId) -> Result<bool, StoreError>;

    /// Raises the version of the live row from `expected` to `version`, so that updates based on `expected` fail.
    async fn raise_version(&self, user_id: UserId, expected: i64, version: i64) -> Result<bool, StoreError>;

    /// Returns the claim on a name, valid or not.
    async fn find_claim(&self, login_name: &LoginName) -> Result<Option<StoredClaim>, StoreError>;

    /// Claims a name if it is not claimed yet.
    async fn claim_name(&self, epoch: i64, claim: &Claim) -> Result<bool, StoreError>;

    /// Replaces the claim `old_claim_id` by `new`, which is on the same name.
    async fn replace_claim(&self, old_claim_id: Uuid, new: &Claim) -> Result<bool, StoreError>;

    /// Records that the user's row contains the claimed name.
    async fn confirm_claim(&self, claim: &Claim) -> Result<bool, StoreError>;

    /// Removes the claim if it is still this one.
    async fn release_claim(&self, claim: &Claim) -> Result<bool, StoreError>;

    /// Returns the state of the circuit breaker. An embedded shard has none, so it is always closed.
    fn circuit(&self) -> Circuit {
        Circuit::Closed
    }

    /// Returns batch statistics, or `None` if lookups are not batched.
    fn batching(&self) -> Option<Batching> {
        None
    }

    /// Stops background tasks and closes connections.
    async fn close(&self);
}

/// Batch statistics of lookups in a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Batching {
    pub users: BatchStats,
    pub names: BatchStats,
}
