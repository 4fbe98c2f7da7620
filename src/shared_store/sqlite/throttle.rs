//! Throttle buckets by the generic cell rate algorithm (ITU-T I.371).
//!
//! A bucket is one number: the time at which it will be full again. A charge adds an interval, and is rejected if the result
//! would be more than `burst` intervals ahead of now. A stored time further ahead than that was written by a clock that was
//! ahead or has been set back since; it counts as an empty bucket.

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
        let (mut charged, mut out_of_range) = (Vec::with_capacity(buckets.len()), Vec::new());
        let mut longest: Option<(Duration, Bucket)> = None;
        for &bucket in buckets {
            let (stored, latest) = (self.stored(&mut write, &bucket).await?, latest(&bucket, now));
            let full_at = clamped(stored, &bucket, now) + bucket.interval * bucket.charges;
            let wait = full_at.since(latest);
            if wait > longest.map_or(Duration::ZERO, |(longest, _)| longest) {
                longest = Some((wait, bucket));
            }
            if stored.is_some_and(|stored| stored > latest) {
                out_of_range.push((bucket, latest));
            }
            charged.push((bucket, full_at));
        }
        // A rejection writes only times that were out of range, so that these buckets fill from now on.
        for (bucket, full_at) in if longest.is_none() { &charged } else { &out_of_range } {
            self.set_full_at(&mut write, bucket, *full_at).await?;
        }
        if longest.is_none() || !out_of_range.is_empty() {
            write.commit().await?;
        }
        Ok(longest.map_or(Charge::Accepted, |(retry_after, bucket)| Charge::Refused { retry_after, bucket }))
    }

    async fn refund(&self, buckets: &[Bucket], now: Timestamp) -> Result<(), StoreError> {
        let mut write = self.database.write(Durability::Relaxed).await?;
        for bucket in buckets {
            let full_at = clamped(self.stored(&mut write, bucket).await?, bucket, now);
            let charges = (bucket.interval * bucket.charges).as_millis() as i64;
            let refunded = Timestamp::from_millis(full_at.millis() - charges);
            self.set_full_at(&mut write, bucket, refunded).await?;
        }
        write.commit().await
    }
}

/// Returns when a bucket that is empty at `now` will be full.
fn latest(bucket: &Bucket, now: Timestamp) -> Timestamp {
    now + bucket.interval * bucket.burst
}

/// Returns when a bucket will be full, with stored times that are out of range clamped.
fn clamped(stored: Option<Timestamp>, bucket: &Bucket, now: Timestamp) -> Timestamp {
    stored.map_or(now, |stored| stored.clamp(now, latest(bucket, now)))
}

impl SqliteSharedStore {
    /// Returns the stored time at which a bucket will be full.
    async fn stored(&self, write: &mut Write<'_>, bucket: &Bucket) -> Result<Option<Timestamp>, StoreError> {
        let stored: Option<i64> = sqlx::query_scalar("SELECT full_at FROM throttle WHERE bucket = ?")
            .bind(bucket.key.as_slice())
            .fetch_optional(&mut ***write)
            .await
            .map_err(self.failed())?;
        Ok(stored.map(Timestamp::from_millis))
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
