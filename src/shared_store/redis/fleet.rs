//! The instance registry and locks.

use std::{collections::BTreeMap, time::Duration};

use super::{PREFIX, RedisSharedStore};
use crate::{
    clock::Timestamp,
    shared_store::{InstanceRecord, InstanceRegistry, LockStore},
    store_error::StoreError,
};
use async_trait::async_trait;

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
        let before = (now.millis() - FORGOTTEN_AFTER.as_millis() as i64).to_string();
        let forgotten: Vec<String> = self.command("ZRANGEBYSCORE", &[&seen(), "-inf", &before]).await?;
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
        let () = self.command("HSET", &[&records(), &record.id, &document]).await?;
        self.command("ZADD", &[&seen(), &now.millis().to_string(), &record.id]).await
    }

    async fn instances(&self, since: Timestamp) -> Result<BTreeMap<String, (InstanceRecord, Timestamp)>, StoreError> {
        let since = since.millis().to_string();
        let alive: Vec<(String, f64)> = self.command("ZRANGEBYSCORE", &[&seen(), &since, "+inf", "WITHSCORES"]).await?;
        if alive.is_empty() {
            return Ok(BTreeMap::new());
        }
        let records = records();
        let fields: Vec<&str> = [records.as_str()].into_iter().chain(alive.iter().map(|(id, _)| id.as_str())).collect();
        let documents: Vec<Option<String>> = self.command("HMGET", &fields).await?;
        let known = alive.into_iter().zip(documents).filter_map(|((id, at), document)| Some((id, at, document?)));
        let decoded = known.map(|(id, at, document)| {
            let record = serde_json::from_str(&document).map_err(|source| self.corrupt("instance record", source))?;
            Ok((id, (record, Timestamp::from_millis(at as i64))))
        });
        decoded.collect()
    }

    async fn leave(&self, instance_id: &str) -> Result<(), StoreError> {
        let () = self.command("ZREM", &[&seen(), instance_id]).await?;
        self.command("HDEL", &[&records(), instance_id]).await
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

    async fn holder(&self, name: &str, now: Timestamp) -> Result<Option<(String, u64)>, StoreError> {
        let fields = [&lock(name), "holder", "fence", "expires_at"];
        let held: (Option<String>, Option<u64>, Option<i64>) = self.command("HMGET", &fields).await?;
        let (Some(holder), Some(fence), Some(expires_at)) = held else { return Ok(None) };
        Ok((expires_at > now.millis()).then_some((holder, fence)))
    }
}

fn lock(name: &str) -> String {
    format!("{PREFIX}lock:{{{name}}}")
}
