//! Token buckets, of which the throttle is made.

use std::time::Duration;

use symbolon::{
    clock::Timestamp,
    shared_store::{Bucket, Charge, SharedStore},
};

use super::at;

fn bucket(key: u8, burst: u32, interval: u64) -> Bucket {
    Bucket { key: [key; 32], burst, interval: Duration::from_secs(interval), charges: 1 }
}

async fn charge(store: &dyn SharedStore, buckets: &[Bucket], now: Timestamp) -> Option<Duration> {
    match store.charge(buckets, now).await.expect("an answer") {
        Charge::Accepted => None,
        Charge::Refused { retry_after, .. } => Some(retry_after),
    }
}

pub async fn buckets_accept_their_burst_and_refill(store: &dyn SharedStore) {
    let bucket = [bucket(1, 3, 10)];
    for _ in 0..3 {
        assert_eq!(charge(store, &bucket, at(0)).await, None);
    }
    assert_eq!(charge(store, &bucket, at(0)).await, Some(Duration::from_secs(10)));
    assert_eq!(charge(store, &bucket, at(9)).await, Some(Duration::from_secs(1)));
    assert_eq!(charge(store, &bucket, at(10)).await, None);
    assert_eq!(charge(store, &bucket, at(10)).await, Some(Duration::from_secs(10)));
    for _ in 0..3 {
        assert_eq!(charge(store, &bucket, at(1000)).await, None);
    }
    assert!(charge(store, &bucket, at(1000)).await.is_some());
}

/// As after a clock was an hour ahead: its clients must not be locked out for that hour.
pub async fn a_bucket_written_by_a_clock_ahead_counts_as_empty(store: &dyn SharedStore) {
    let (bucket, other) = ([bucket(1, 3, 10)], bucket(2, 1, 10));
    assert_eq!(charge(store, &bucket, at(3600)).await, None);
    assert_eq!(charge(store, &[bucket[0], other], at(0)).await, Some(Duration::from_secs(10)));
    assert_eq!(charge(store, &bucket, at(5)).await, Some(Duration::from_secs(5)), "it fills");
    assert_eq!(charge(store, &bucket, at(10)).await, None);
    assert_eq!(charge(store, &[other], at(10)).await, None);
    assert_eq!(charge(store, &bucket, at(3600)).await, None);
    store.refund(&bucket, at(0)).await.expect("an answer");
    assert_eq!(charge(store, &bucket, at(0)).await, None, "a refund makes room at once");
    assert!(charge(store, &bucket, at(0)).await.is_some());
}

pub async fn a_refused_charge_charges_nothing(store: &dyn SharedStore) {
    let (wide, narrow) = (bucket(1, 2, 10), bucket(2, 1, 10));
    assert_eq!(charge(store, &[wide, narrow], at(0)).await, None);
    assert!(charge(store, &[wide, narrow], at(0)).await.is_some());
    assert_eq!(charge(store, &[wide], at(0)).await, None);
    assert!(charge(store, &[wide], at(0)).await.is_some());
}

pub async fn a_refund_never_exceeds_the_burst(store: &dyn SharedStore) {
    let bucket = [bucket(1, 2, 10)];
    for _ in 0..50 {
        assert_eq!(charge(store, &bucket, at(0)).await, None);
        store.refund(&bucket, at(0)).await.expect("an answer");
    }
    store.refund(&bucket, at(0)).await.expect("an answer");
    assert_eq!(charge(store, &bucket, at(0)).await, None);
    assert_eq!(charge(store, &bucket, at(0)).await, None);
    assert!(charge(store, &bucket, at(0)).await.is_some());
}

pub async fn several_charges_are_made_and_refunded_together(store: &dyn SharedStore) {
    let double = [Bucket { charges: 2, ..bucket(1, 3, 10) }];
    assert_eq!(charge(store, &double, at(0)).await, None);
    assert_eq!(charge(store, &double, at(0)).await, Some(Duration::from_secs(10)));
    assert_eq!(charge(store, &[bucket(1, 3, 10)], at(0)).await, None);
    store.refund(&double, at(0)).await.expect("an answer");
    assert_eq!(charge(store, &double, at(0)).await, None);
    assert!(charge(store, &[bucket(1, 3, 10)], at(0)).await.is_some());
}

pub async fn concurrent_charges_do_not_exceed_the_burst(store: &dyn SharedStore) {
    let bucket = [bucket(1, 10, 10)];
    let tries = futures_util::future::join_all((0..64).map(|_| charge(store, &bucket, at(0)))).await;
    assert_eq!(tries.iter().filter(|refused| refused.is_none()).count(), 10);
}
