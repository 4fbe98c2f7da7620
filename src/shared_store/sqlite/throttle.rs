//! Throttle buckets by the generic cell rate algorithm (ITU-T I.371): each bucket is one number, the time at which it
//! will be full again. A charge moves it an interval on, and is refused if that would take it more than `burst`
//! intervals ahead of now. A stored time further ahead than that, by a clock that was ahead or has been set back, is taken for
//! an empty bucket.

use std::time::Duration;

use async_trait::async_trait;

use super::SqliteSharedStore;
use crate::{
    clock::Timestamp,
    shared_store::{Bucket, Charge, ThrottleStore},
    sqlite::{Durability, Write},
    store_error::StoreError,
};

pub(super) const REAP: &str =
    "DELETE FROM throttle WHERE bucket IN (SELECT bucket FROM throttle WHERE full_at <= ? LIMIT ?)";

#[async_trait]
impl ThrottleStore for SqliteSharedStore {
    async fn charge(&self, buckets: &[Bucket], now: Timestamp) -> Result<Charge, StoreError> {
        let mut write = self.database.write(Durability::Relaxed).await?;
        let mut longest: Option<(Duration, Bucket)> = None;
        for &bucket in buckets {
            let charged = self.full_at(&mut write, &bucket, now).await? + bucket.interval * bucket.charges;
            let wait = charged.since(latest(&bucket, now));
            if wait > longest.map_or(Duration::ZERO, |(longest, _)| longest) {
                longest = Some((wait, bucket));
            }
            self.set_full_at(&mut write, &bucket, charged).await?;
        }
        if let Some((retry_after, bucket)) = longest {
            drop(write);
            self.shorten(buckets, now).await?;
            return Ok(Charge::Refused { retry_after, bucket });
        }
        write.commit().await?;
        Ok(Charge::Accepted)
    }

    async fn refund(&self, buckets: &[Bucket], now: Timestamp) -> Result<(), StoreError> {
        let mut write = self.database.write(Durability::Relaxed).await?;
        for bucket in buckets {
            let full_at = self.full_at(&mut write, bucket, now).await?;
            let charges = (bucket.interval * bucket.charges).as_millis() as i64;
            let refunded = Timestamp::from_millis(full_at.millis() - charges);
            self.set_full_at(&mut write, bucket, refunded).await?;
        }
        write.commit().await
    }
}

/// When a bucket is full again that is empty at `now`.
fn latest(bucket: &Bucket, now: Timestamp) -> Timestamp {
    now + bucket.interval * bucket.burst
}

impl SqliteSharedStore {
    async fn full_at(&self, write: &mut Write<'_>, bucket: &Bucket, now: Timestamp) -> Result<Timestamp, StoreError> {
        let stored: Option<i64> = sqlx::query_scalar("SELECT full_at FROM throttle WHERE bucket = ?")
            .bind(bucket.key.as_slice())
            .fetch_optional(&mut ***write)
            .await
            .map_err(self.failed())?;
        Ok(stored.map_or(now, |millis| Timestamp::from_millis(millis).clamp(now, latest(bucket, now))))
    }

    /// Stores for buckets with an impossible time that they are empty, so that they fill from `now` on.
    async fn shorten(&self, buckets: &[Bucket], now: Timestamp) -> Result<(), StoreError> {
        for bucket in buckets {
            let (key, latest) = (bucket.key.as_slice(), latest(bucket, now).millis());
            let is_impossible: Option<bool> = sqlx::query_scalar("SELECT full_at > ? FROM throttle WHERE bucket = ?")
                .bind(latest)
                .bind(key)
                .fetch_optional(self.database.reader())
                .await
                .map_err(self.failed())?;
            if is_impossible == Some(true) {
                let mut write = self.database.write(Durability::Relaxed).await?;
                let statement = "UPDATE throttle SET full_at = min(full_at, ?) WHERE bucket = ?";
                let shorten = sqlx::query(statement).bind(latest).bind(key);
                shorten.execute(&mut **write).await.map_err(self.failed())?;
                write.commit().await?;
            }
        }
        Ok(())
    }

    async fn set_full_at(&self, write: &mut Write<'_>, bucket: &Bucket, full_at: Timestamp) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO throttle VALUES (?, ?) ON CONFLICT (bucket) DO UPDATE SET full_at = excluded.full_at")
            .bind(bucket.key.as_slice())
            .bind(full_at.millis())
            .execute(&mut ***write)
            .await
            .map(drop)
            .map_err(self.failed())
    }
}
