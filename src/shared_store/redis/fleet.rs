//! The instance registry and locks.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use fred::interfaces::{HashesInterface, SortedSetsInterface};

use super::{PREFIX, RedisSharedStore};
use crate::{
    clock::Timestamp,
    shared_store::{InstanceRecord, InstanceRegistry, LockStore},
    store_error::StoreError,
};

/// Records of instances that said nothing for this long are removed.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

fn seen() -> String {
    format!("{PREFIX}{{fleet}}:seen")
}

fn records() -> String {
    format!("{PREFIX}{{fleet}}:records")
}

impl RedisSharedStore {
    pub(super) async fn forget_instances(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = now.millis() as f64 - FORGOTTEN_AFTER.as_millis() as f64;
        let forgotten = self.client.zrangebyscore(seen(), f64::NEG_INFINITY, before, false, None);
        let forgotten: Vec<String> = self.guarded(forgotten).await?;
        for instance_id in forgotten {
            self.leave(&instance_id).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl InstanceRegistry for RedisSharedStore {
    async fn heartbeat(&self, record: &InstanceRecord, now: Timestamp) -> Result<(), StoreError> {
        let document = serde_json::to_string(record).map_err(|source| self.corrupt("instance record", source))?;
        let pipeline = self.client.pipeline();
        let queued = async {
            let () = pipeline.hset(records(), (record.id.as_str(), document)).await?;
            let () = pipeline.zadd(seen(), None, None, false, false, (now.millis() as f64, record.id.as_str())).await?;
            pipeline.all::<()>().await
        };
        self.guarded(queued).await
    }

    async fn instances(&self, since: Timestamp) -> Result<BTreeMap<String, (InstanceRecord, Timestamp)>, StoreError> {
        let alive = self.client.zrangebyscore(seen(), since.millis() as f64, f64::INFINITY, true, None);
        let alive: Vec<(String, f64)> = self.guarded(alive).await?;
        if alive.is_empty() {
            return Ok(BTreeMap::new());
        }
        let ids: Vec<String> = alive.iter().map(|(id, _)| id.clone()).collect();
        let documents: Vec<Option<String>> = self.guarded(self.client.hmget(records(), ids)).await?;
        let known = alive.into_iter().zip(documents).filter_map(|((id, at), document)| Some((id, at, document?)));
        let decoded = known.map(|(id, at, document)| {
            let record = serde_json::from_str(&document).map_err(|source| self.corrupt("instance record", source))?;
            Ok((id, (record, Timestamp::from_millis(at as i64))))
        });
        decoded.collect()
    }

    async fn leave(&self, instance_id: &str) -> Result<(), StoreError> {
        let pipeline = self.client.pipeline();
        let queued = async {
            let () = pipeline.zrem(seen(), instance_id).await?;
            let () = pipeline.hdel(records(), instance_id).await?;
            pipeline.all::<()>().await
        };
        self.guarded(queued).await
    }
}

#[async_trait]
impl LockStore for RedisSharedStore {
    async fn acquire_lock(
        &self,
        name: &str,
        holder: &str,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let arguments = vec![holder.to_owned(), now.millis().to_string(), (now + lease).millis().to_string()];
        let fence: u64 = self.run(&self.scripts.acquire_lock, vec![lock(name)], arguments).await?;
        Ok((fence > 0).then_some(fence))
    }

    async fn release_lock(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        self.run(&self.scripts.release_lock, vec![lock(name)], vec![holder.to_owned()]).await
    }
}

fn lock(name: &str) -> String {
    format!("{PREFIX}lock:{{{name}}}")
}
