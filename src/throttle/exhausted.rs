//! A short-lived cache of exhausted buckets, so that repeated attempts do not reach the store.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::{shared_store::Bucket, sync::MutexExt};

/// Lifetime of an entry. Refunds by other instances are not seen until it has passed.
const ENTRY_TTL: Duration = Duration::from_millis(250);
const MAX_BUCKETS: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Exhausted(Mutex<Refusals>);

#[derive(Debug, Default)]
struct Refusals {
    by_bucket: HashMap<[u8; 32], Refusal>,
    /// When expired entries were last removed.
    swept_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Refusal {
    charges: u32,
    since: Instant,
    has_room_at: Instant,
}

impl Refusal {
    fn is_current(&self, now: Instant) -> bool {
        now < self.has_room_at && now < self.since + ENTRY_TTL
    }
}

impl Exhausted {
    /// Returns the time until all of `buckets` have room, or `None` if none of them is known to be exhausted.
    pub(super) fn wait(&self, buckets: &[Bucket], now: Instant) -> Option<Duration> {
        let refusals = self.0.locked();
        let waits = buckets.iter().filter_map(|bucket| {
            let refusal = refusals.by_bucket.get(&bucket.key)?;
            let holds = refusal.is_current(now) && refusal.charges <= bucket.charges;
            holds.then(|| refusal.has_room_at.saturating_duration_since(now))
        });
        waits.max()
    }

    /// Records that `bucket` has no room until `retry_after` has passed.
    pub(super) fn remember(&self, bucket: &Bucket, retry_after: Duration, now: Instant) {
        let Some(has_room_at) = now.checked_add(retry_after) else { return };
        let mut refusals = self.0.locked();
        let is_due = refusals.swept_at.is_none_or(|swept_at| now >= swept_at + ENTRY_TTL);
        if refusals.by_bucket.len() >= MAX_BUCKETS && is_due {
            refusals.by_bucket.retain(|_, refusal| refusal.is_current(now));
            refusals.swept_at = Some(now);
        }
        if refusals.by_bucket.len() < MAX_BUCKETS {
            refusals.by_bucket.insert(bucket.key, Refusal { charges: bucket.charges, since: now, has_room_at });
        }
    }

    /// Removes buckets that received a refund.
    pub(super) fn forget(&self, buckets: &[Bucket]) {
        let mut refusals = self.0.locked();
        for bucket in buckets {
            refusals.by_bucket.remove(&bucket.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(number: u32, charges: u32) -> Bucket {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        Bucket { key, burst: 10, interval: Duration::from_secs(1), charges }
    }

    #[test]
    fn an_entry_expires_with_its_ttl_or_once_the_bucket_has_room() {
        let (exhausted, now) = (Exhausted::default(), Instant::now());
        exhausted.remember(&bucket(1, 1), Duration::from_secs(30), now);
        exhausted.remember(&bucket(2, 1), Duration::from_millis(50), now);
        let later = now + Duration::from_millis(60);
        let wait = |buckets: &[Bucket], at| exhausted.wait(buckets, at).map(|wait| wait.as_millis());
        assert_eq!(wait(&[bucket(3, 1), bucket(1, 1), bucket(2, 1)], now), Some(30_000));
        assert_eq!(wait(&[bucket(1, 1)], later), Some(29_940));
        assert_eq!(wait(&[bucket(2, 1)], later), None);
        assert_eq!(wait(&[bucket(1, 1)], now + ENTRY_TTL), None);
        exhausted.forget(&[bucket(1, 1)]);
        assert_eq!(wait(&[bucket(1, 1)], now), None);
    }

    #[test]
    fn a_bucket_that_refused_two_charges_may_accept_one() {
        let (exhausted, now) = (Exhausted::default(), Instant::now());
        exhausted.remember(&bucket(1, 2), Duration::from_secs(30), now);
        assert!(exhausted.wait(&[bucket(1, 1)], now).is_none() && exhausted.wait(&[bucket(1, 2)], now).is_some());
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let (exhausted, now) = (Exhausted::default(), Instant::now());
        for number in 0..2 * MAX_BUCKETS as u32 {
            exhausted.remember(&bucket(number, 1), Duration::from_secs(1), now);
        }
        assert_eq!(exhausted.0.locked().by_bucket.len(), MAX_BUCKETS);
        exhausted.remember(&bucket(u32::MAX, 1), Duration::from_secs(1), now + ENTRY_TTL);
        assert_eq!(exhausted.0.locked().by_bucket.len(), 1);
    }
}
