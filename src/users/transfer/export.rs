//! Export of users, shard by shard in the order of their ids.

use std::sync::Arc;

use crate::{
    model::{User, UserId},
    shards::{Placement, Shards},
    store_error::StoreError,
};

/// Users in a page.
const PAGE_SIZE: u32 = 2000;

/// Reads users page by page. Each page is a snapshot of its own.
#[derive(Debug)]
pub struct Export {
    placement: Arc<Placement>,
    shard: usize,
    after: Option<UserId>,
}

impl Export {
    /// Starts an export at the beginning, or after the `last` user of an interrupted one.
    ///
    /// # Errors
    /// [`StoreError`] if there is no topology.
    pub fn new(shards: &Shards, last: Option<UserId>) -> Result<Self, StoreError> {
        let placement = shards.current()?;
        let shard = last.map_or(0, |user_id| placement.partitioner.owner_index(&user_id.to_string()));
        Ok(Self { placement, shard, after: last })
    }

    /// Returns the next page, which is empty at the end.
    ///
    /// # Errors
    /// [`StoreError`] if a shard failed. Calling this again reads the same page.
    pub async fn next(&mut self) -> Result<Vec<User>, StoreError> {
        while let Some(store) = self.placement.store(self.shard) {
            let page = store.list_users(self.after, PAGE_SIZE).await?;
            if let Some(last) = page.last() {
                self.after = Some(last.user_id);
                return Ok(page);
            }
            (self.shard, self.after) = (self.shard + 1, None);
        }
        Ok(Vec::new())
    }
}
