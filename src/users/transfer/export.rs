//! Export: users shard by shard, in the order of their ids.

use std::sync::Arc;

use crate::{
    model::{User, UserId},
    shards::{Placement, Shards},
    store_error::StoreError,
};

/// How many users are read at a time.
const PAGE: u32 = 2000;

/// Takes users out, page by page. Each page shows its users as they were when it was read.
#[derive(Debug)]
pub struct Export {
    placement: Arc<Placement>,
    shard: usize,
    after: Option<UserId>,
}

impl Export {
    /// From the beginning, or from where an earlier one has come to: the user that it gave last.
    ///
    /// # Errors
    /// [`StoreError`] where there is no topology.
    pub fn new(shards: &Shards, last: Option<UserId>) -> Result<Self, StoreError> {
        let placement = shards.current()?;
        let shard = last.map_or(0, |user_id| placement.partitioner.owner_index(&user_id.to_string()));
        Ok(Self { placement, shard, after: last })
    }

    /// The next users; none at the end.
    ///
    /// # Errors
    /// [`StoreError`] if a shard failed; the page can be asked for again.
    pub async fn next(&mut self) -> Result<Vec<User>, StoreError> {
        while let Some(store) = self.placement.store(self.shard) {
            let page = store.list_users(self.after, PAGE).await?;
            if let Some(last) = page.last() {
                self.after = Some(last.user_id);
                return Ok(page);
            }
            (self.shard, self.after) = (self.shard + 1, None);
        }
        Ok(Vec::new())
    }
}
