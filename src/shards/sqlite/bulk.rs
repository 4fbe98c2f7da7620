//! Bulk operations, for import and export.

use async_trait::async_trait;

use super::{SqliteShard, claims, users};
use crate::{
    model::{User, UserId},
    shards::{
        BulkStore,
        store::{Claim, ShardStore, StoredClaim},
    },
    store_error::StoreError,
};

#[async_trait]
impl BulkStore for SqliteShard {
    async fn find_users(&self, user_ids: &[UserId]) -> Result<Vec<User>, StoreError> {
        users::find_any(&self.database, user_ids).await
    }

    async fn list_users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        users::list(&self.database, after, limit).await
    }

    async fn insert_users(&self, epoch: i64, users: &[User]) -> Result<Vec<UserId>, StoreError> {
        let mut write = self.write_at_epoch(epoch).await?;
        let mut existing = Vec::new();
        for user in users {
            let done = users::insert(epoch, user).execute(&mut **write).await;
            if done.map_err(|source| self.database.unavailable(source))?.rows_affected() == 0 {
                existing.push(user.user_id);
            }
        }
        write.commit().await?;
        Ok(existing)
    }

    async fn claim_names(&self, epoch: i64, claims: &[Claim]) -> Result<Vec<StoredClaim>, StoreError> {
        let mut write = self.write_at_epoch(epoch).await?;
        let mut taken = Vec::new();
        for claim in claims {
            let done = claims::insert(epoch, claim).execute(&mut **write).await;
            if done.map_err(|source| self.database.unavailable(source))?.rows_affected() == 0 {
                taken.push(claim);
            }
        }
        write.commit().await?;
        let mut held = Vec::new();
        for claim in taken {
            // A claim that was released in the meantime is missing from the result; the caller tries again.
            held.extend(self.find_claim(&claim.login_name).await?);
        }
        Ok(held)
    }
}
