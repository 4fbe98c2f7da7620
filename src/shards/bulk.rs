//! Bulk operations on a shard, for import and export.

use async_trait::async_trait;

use super::store::{Claim, StoredClaim};
use crate::{
    model::{User, UserId},
    store_error::StoreError,
};

/// Operations on many rows of a shard. Each call that writes is one transaction behind the epoch fence: it writes all of its
/// rows or none.
#[async_trait]
pub trait BulkStore: Send + Sync {
    /// Returns the users that exist among `user_ids`, in no particular order.
    async fn find_users(&self, user_ids: &[UserId]) -> Result<Vec<User>, StoreError>;

    /// Returns up to `limit` users with ids greater than `after`, ordered by id.
    async fn list_users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError>;

    /// Inserts the users whose id has no row yet, live or void. Returns the ids of the others.
    async fn insert_users(&self, epoch: i64, users: &[User]) -> Result<Vec<UserId>, StoreError>;

    /// Claims the names that are not claimed yet. Returns the existing claims on the others. `claims` must not contain a name
    /// twice.
    async fn claim_names(&self, epoch: i64, claims: &[Claim]) -> Result<Vec<StoredClaim>, StoreError>;
}
