//! What import and export need of a shard: many rows at a time.

use async_trait::async_trait;

use super::store::{Claim, StoredClaim};
use crate::{
    model::{User, UserId},
    store_error::StoreError,
};

/// Many rows of a shard at a time. Each call that writes is one transaction behind the fence: all of its rows, or none.
#[async_trait]
pub trait BulkStore: Send + Sync {
    /// The live rows among these users, in no order.
    async fn find_users(&self, user_ids: &[UserId]) -> Result<Vec<User>, StoreError>;

    /// Up to `limit` live rows after `after`, in the order of their ids.
    async fn list_users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError>;

    /// Adds those whose id has no row, a void one included; returns the ids of the others.
    async fn insert_users(&self, epoch: i64, users: &[User]) -> Result<Vec<UserId>, StoreError>;

    /// Claims those names that nobody has claimed; returns the claims on the others. No name may be there twice.
    async fn claim_names(&self, epoch: i64, claims: &[Claim]) -> Result<Vec<StoredClaim>, StoreError>;
}
