use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;

use super::*;

#[test]
fn a_limit_is_read_from_text_and_written_back() {
    let limit: Limit = "10/15m".parse().expect("a limit");
    assert_eq!(limit, Limit { tries: 10, window: Duration::from_secs(900) });
    assert_eq!(limit.to_string(), "10/15m");
    for wrong in ["", "10", "0/1m", "-1/1m", "10/", "10/1ms", "1000/1s", "x/1m"] {
        assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
    }
}

/// A store without room, which takes a while to say so.
#[derive(Debug, Default)]
struct FullStore {
    asked: AtomicUsize,
    at_a_time: AtomicUsize,
    most_at_a_time: AtomicUsize,
}

#[async_trait]
impl ThrottleStore for FullStore {
    async fn charge(&self, buckets: &[Bucket], _: Timestamp) -> Result<Charge, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let at_a_time = self.at_a_time.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_at_a_time.fetch_max(at_a_time, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.at_a_time.fetch_sub(1, Ordering::Relaxed);
        let bucket = *buckets.last().expect("a bucket");
        Ok(Charge::Refused { retry_after: Duration::from_secs(60), bucket })
    }

    async fn refund(&self, _: &[Bucket], _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_logins_from_one_address_ask_the_store_a_few_times() {
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
    assert_eq!((count(&store.asked), count(&store.most_at_a_time)), (AT_A_TIME, AT_A_TIME));
}
