//! What a shard's storage must do: users by id, and claims by login name.

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

/// Someone's hold on a login name. It is valid if and only if the user's row names it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The name.
    pub login_name: LoginName,
    /// Who claims it.
    pub user_id: UserId,
    /// Which attempt claimed it; confirming and releasing must name it.
    pub claim_id: Uuid,
}

/// A claim as the shard keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredClaim {
    /// What was claimed.
    pub claim: Claim,
    /// When, by the shard's clock.
    pub claimed_at: Timestamp,
    /// The shard's clock when this was read.
    pub read_at: Timestamp,
    /// Whether the claimant said that its user's row is written.
    pub confirmed: bool,
}

/// One shard. Writes answer whether their condition held; a condition that does not hold changes nothing.
#[async_trait]
pub trait ShardStore: BulkStore + std::fmt::Debug {
    /// Whether the shard answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// How long a statement may take: after that it has ended, or its answer is not waited for.
    fn statement_timeout(&self) -> Duration;

    /// The live row of a user.
    async fn find_user(&self, user_id: UserId) -> Result<Option<User>, StoreError>;

    /// Adds a user; false if there is a row of that id, a void one included.
    async fn insert_user(&self, epoch: i64, user: &User) -> Result<bool, StoreError>;

    /// Writes `user` over the live row that has version `expected`.
    async fn update_user(&self, user: &User, expected: i64) -> Result<bool, StoreError>;

    /// Replaces a password hash that is still `old`, without raising the version.
    async fn rehash(&self, user_id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<bool, StoreError>;

    /// Deletes the live row that has this version.
    async fn delete_user(&self, user_id: UserId, version: i64) -> Result<bool, StoreError>;

    /// Makes it impossible to insert this user; false if there is a row already.
    async fn void_user(&self, epoch: i64, user_id: UserId) -> Result<bool, StoreError>;

    /// Makes updates based on version `expected` of the live row fail: it has `version` then.
    async fn raise_version(&self, user_id: UserId, expected: i64, version: i64) -> Result<bool, StoreError>;

    /// The claim on a name, valid or not.
    async fn find_claim(&self, login_name: &LoginName) -> Result<Option<StoredClaim>, StoreError>;

    /// Claims a name that nobody has claimed.
    async fn claim_name(&self, epoch: i64, claim: &Claim) -> Result<bool, StoreError>;

    /// Puts `new` in the place of the claim `old_claim_id` on the same name.
    async fn replace_claim(&self, old_claim_id: Uuid, new: &Claim) -> Result<bool, StoreError>;

    /// Notes that the user's row names the claim back.
    async fn confirm_claim(&self, claim: &Claim) -> Result<bool, StoreError>;

    /// Removes the claim if it is still this one.
    async fn release_claim(&self, claim: &Claim) -> Result<bool, StoreError>;

    /// Whether requests to the shard pass; a shard without a network between has nothing to break.
    fn circuit(&self) -> Circuit {
        Circuit::Closed
    }

    /// How lookups were joined into batches, where they are.
    fn batching(&self) -> Option<Batching> {
        None
    }

    /// Ends background work and closes connections.
    async fn close(&self);
}

/// What came of joining lookups into batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Batching {
    /// Those for users.
    pub users: BatchStats,
    /// Those for login names.
    pub names: BatchStats,
}
