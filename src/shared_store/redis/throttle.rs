//! Throttle buckets. Their keys may be in different slots, so each is charged separately. If one has no room, the charges of the
//! others are refunded.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};

use super::{keys, store::RedisSharedStore};
use crate::{
    clock::Timestamp,
    shared_store::{Bucket, Charge, ThrottleStore},
    store_error::StoreError,
};

fn arguments(bucket: &Bucket, now: Timestamp) -> Vec<i64> {
    vec![now.millis(), bucket.interval.as_millis() as i64, i64::from(bucket.burst), i64::from(bucket.charges)]
}

impl RedisSharedStore {
    /// Charges one bucket. Returns the time until it has room, or zero if it was charged.
    async fn charge_one(&self, bucket: &Bucket, now: Timestamp) -> Result<Duration, StoreError> {
        let wait: i64 = self.run(&self.scripts.charge, vec![keys::bucket(bucket)], arguments(bucket, now)).await?;
        Ok(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
    }

    async fn refund_one(&self, bucket: &Bucket, now: Timestamp) -> Result<(), StoreError> {
        self.run(&self.scripts.refund, vec![keys::bucket(bucket)], arguments(bucket, now)).await
    }
}

#[async_trait]
impl ThrottleStore for RedisSharedStore {
    async fn charge(&self, buckets: &[Bucket], now: Timestamp) -> Result<Charge, StoreError> {
        let charges = join_all(buckets.iter().map(|bucket| self.charge_one(bucket, now))).await;
        let accepted = charges.iter().all(|charge| matches!(charge, Ok(wait) if wait.is_zero()));
        if accepted {
            return Ok(Charge::Accepted);
        }
        let charged = buckets.iter().zip(&charges).filter(|(_, charge)| matches!(charge, Ok(wait) if wait.is_zero()));
        // A failed refund leaves a charge too many, which expires by itself.
        join_all(charged.map(|(bucket, _)| self.refund_one(bucket, now))).await;
        let waits = charges.into_iter().collect::<Result<Vec<_>, _>>()?;
        let longest = waits.into_iter().zip(buckets).max_by_key(|&(wait, _)| wait);
        Ok(longest.map_or(Charge::Accepted, |(retry_after, &bucket)| Charge::Refused { retry_after, bucket }))
    }

    async fn refund(&self, buckets: &[Bucket], now: Timestamp) -> Result<(), StoreError> {
        try_join_all(buckets.iter().map(|bucket| self.refund_one(bucket, now))).await.map(drop)
    }
}
