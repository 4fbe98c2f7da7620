use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;

use super::*;

#[test]
fn a_limit_is_parsed_and_displayed() {
    let limit: Limit = "10/15m".parse().expect("a limit");
    assert_eq!(limit, Limit { tries: 10, window: Duration::from_secs(900) });
    assert_eq!(limit.to_string(), "10/15m");
    for wrong in ["", "10", "0/1m", "-1/1m", "10/", "10/1ms", "1000/1s", "x/1m"] {
        assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
    }
}

/// A slow store that refuses every charge.
#[derive(Debug, Default)]
struct FullStore {
    charges: AtomicUsize,
    in_flight: AtomicUsize,
    max_in_flight: AtomicUsize,
}

#[async_trait]
impl ThrottleStore for FullStore {
    async fn charge(&self, buckets: &[Bucket], _: Timestamp) -> Result<Charge, StoreError> {
        self.charges.fetch_add(1, Ordering::Relaxed);
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.max_in_flight.fetch_max(in_flight, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let bucket = *buckets.last().expect("a bucket");
        Ok(Charge::Refused { retry_after: Duration::from_secs(60), bucket })
    }

    async fn refund(&self, _: &[Bucket], _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_logins_from_one_address_reach_the_store_a_few_times() {
    let limit = Limit { tries: 10, window: Duration::from_secs(600) };
    let limits =
        ThrottleLimits { name_and_address: limit, address: limit, name: limit, registrations: limit, logins: limit };
    let store = Arc::new(FullStore::default());
    let throttle = Throttle::new(Arc::<FullStore>::clone(&store), Some(limits), TaskTracker::new());
    let address = Some(IpAddr::from([203, 0, 113, 9]));
    let names: Vec<String> = (0..1000).map(|number| format!("user-{number}")).collect();
    let charged = join_all(names.iter().map(|name| throttle.charge_login(name, address, 1))).await;
    assert!(charged.iter().all(|charged| matches!(charged, Err(ThrottleError::Exhausted { .. }))));
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    assert_eq!((count(&store.charges), count(&store.max_in_flight)), (MAX_CHARGES_PER_GROUP, MAX_CHARGES_PER_GROUP));
}
