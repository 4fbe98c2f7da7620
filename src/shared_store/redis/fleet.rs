//! Instance registry and locks.

use std::{collections::BTreeMap, time::Duration};

use super::{balancing, keys, store::RedisSharedStore};
use crate::{
    clock::Timestamp,
    shared_store::{InstanceRecord, InstanceRegistry, LockStore},
    store_error::StoreError,
};
use async_trait::async_trait;

/// Time after the last heartbeat at which the record of an instance is deleted.
const RECORD_TTL: Duration = Duration::from_secs(600);

impl RedisSharedStore {
    /// Deletes instances and removals that have expired.
    pub(super) async fn reap_fleet(&self) -> Result<(), StoreError> {
        let keys = vec![keys::heartbeats(), keys::instances(), keys::balancing(), keys::removed()];
        let ages = [RECORD_TTL, balancing::REMOVED_TTL].map(|age| age.as_millis() as i64);
        self.run(&self.scripts.reap_fleet, keys, ages.to_vec()).await
    }
}

#[async_trait]
impl InstanceRegistry for RedisSharedStore {
    async fn heartbeat(&self, record: &InstanceRecord) -> Result<Option<InstanceRecord>, StoreError> {
        let document = serde_json::to_string(record).map_err(|source| self.corrupt("instance record", source))?;
        let arguments = vec![record.id.clone(), document];
        let before: Option<String> =
            self.run(&self.scripts.heartbeat, vec![keys::heartbeats(), keys::instances()], arguments).await?;
        // A record that can't be decoded is replaced anyway.
        Ok(before.and_then(|record| serde_json::from_str(&record).ok()))
    }

    async fn instances(&self, age: Duration) -> Result<BTreeMap<String, (InstanceRecord, Timestamp)>, StoreError> {
        let arguments = vec![age.as_millis() as i64];
        let known: Vec<(String, f64, String)> =
            self.run(&self.scripts.list_instances, vec![keys::heartbeats(), keys::instances()], arguments).await?;
        let decoded = known.into_iter().map(|(id, at, document)| {
            let record = serde_json::from_str(&document).map_err(|source| self.corrupt("instance record", source))?;
            Ok((id, (record, Timestamp::from_millis(at as i64))))
        });
        decoded.collect()
    }

    async fn leave(&self, instance_id: &str) -> Result<(), StoreError> {
        let () = self.command("ZREM", &[&keys::heartbeats(), instance_id]).await?;
        self.command("HDEL", &[&keys::instances(), instance_id]).await
    }
}

#[async_trait]
impl LockStore for RedisSharedStore {
    async fn acquire_lock(&self, name: &str, holder: &str, lease: Duration) -> Result<Option<u64>, StoreError> {
        let arguments = vec![holder.to_owned(), lease.as_millis().to_string()];
        let fence: u64 = self.run(&self.scripts.acquire_lock, vec![keys::lock(name)], arguments).await?;
        Ok((fence > 0).then_some(fence))
    }

    async fn release_lock(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        self.run(&self.scripts.release_lock, vec![keys::lock(name)], vec![holder.to_owned()]).await
    }

    async fn holder(&self, name: &str) -> Result<Option<(String, u64)>, StoreError> {
        self.run(&self.scripts.lock_holder, vec![keys::lock(name)], Vec::<String>::new()).await
    }
}
