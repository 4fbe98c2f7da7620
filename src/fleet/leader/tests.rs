//! Leader election in paused time, with a lock that answers late or not at all.

use std::sync::Mutex;

use async_trait::async_trait;
use tokio::time::sleep;

use super::*;
use crate::{store_error::StoreError, sync::MutexExt};

/// A lock that uses the paused clock.
#[derive(Debug, Default)]
struct FakeLock(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    holder: String,
    fence: u64,
    until: Option<tokio::time::Instant>,
    /// Delay of the answer after the lock was taken.
    answer_delay: Duration,
    is_down: bool,
}

impl FakeLock {
    fn set(&self, set: impl FnOnce(&mut Held)) {
        set(&mut self.0.locked());
    }
}

fn down() -> StoreError {
    StoreError::Unavailable {
        store: "shared".to_owned(),
        outcome: crate::store_error::Outcome::Unknown,
        source: "the store is down".into(),
    }
}

#[async_trait]
impl LockStore for FakeLock {
    async fn acquire_lock(&self, _: &str, holder: &str, lease: Duration) -> Result<Option<u64>, StoreError> {
        let (mut answer, mut delay) = (Err(down()), Duration::ZERO);
        self.set(|held| {
            if held.is_down {
                return;
            }
            let now = tokio::time::Instant::now();
            let lapsed = held.until.is_none_or(|until| until <= now);
            let own = held.holder == holder;
            if lapsed || own {
                held.fence += u64::from(lapsed || !own);
                held.holder = holder.to_owned();
                held.until = Some(now + lease);
            }
            answer = Ok((lapsed || own).then_some(held.fence));
            delay = held.answer_delay;
        });
        sleep(delay).await;
        answer
    }

    async fn release_lock(&self, _: &str, holder: &str) -> Result<(), StoreError> {
        self.set(|held| {
            if held.holder == holder {
                held.until = None;
            }
        });
        Ok(())
    }

    async fn holder(&self, _: &str) -> Result<Option<(String, u64)>, StoreError> {
        Err(down())
    }
}

struct Instance {
    leader: Leader,
    draining: CancellationToken,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Instance {
    fn start(lock: &Arc<FakeLock>, id: &str) -> Self {
        let (draining, stop) = (CancellationToken::new(), CancellationToken::new());
        let store: Arc<dyn LockStore> = lock.clone();
        let leader = Leader::new(store, ProcessId::new(id.to_owned()), draining.clone());
        let task = tokio::spawn(leader.clone().run(stop.clone()));
        Self { leader, draining, stop, task }
    }

    fn fence(&self) -> Option<u64> {
        self.leader.fence_now(tokio::time::Instant::now().into_std())
    }
}

const TICK: Duration = Duration::from_millis(1);

#[test]
fn a_leadership_ends_before_its_lease() {
    let asked_at = Instant::now();
    let leadership = Leadership::new(7, asked_at);
    assert_eq!(leadership.fence_at(asked_at), Some(7));
    assert_eq!(leadership.fence_at(asked_at + LEASE - SAFETY_MARGIN - TICK), Some(7));
    assert_eq!(leadership.fence_at(asked_at + LEASE - SAFETY_MARGIN), None);
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_counted_from_the_time_of_the_request() {
    let lock = Arc::new(FakeLock::default());
    lock.set(|held| held.answer_delay = Duration::from_secs(2));
    let first = Instance::start(&lock, "first");
    sleep(Duration::from_secs(2) - TICK).await;
    assert_eq!(first.fence(), None, "no answer yet");
    sleep(2 * TICK).await;
    assert_eq!(first.fence(), Some(1));
    sleep(LEASE - SAFETY_MARGIN - Duration::from_secs(2)).await;
    assert_eq!(first.fence(), None, "the renewal is not answered yet, and the lease is about to end");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_its_lease_ends() {
    let lock = Arc::new(FakeLock::default());
    let first = Instance::start(&lock, "first");
    sleep(TICK).await;
    assert_eq!(first.fence(), Some(1));
    lock.set(|held| held.is_down = true);
    sleep(LEASE - SAFETY_MARGIN - 2 * TICK).await;
    assert_eq!(first.fence(), Some(1), "a shorter outage of the store changes nothing");
    sleep(2 * TICK).await;
    assert_eq!(first.fence(), None);
}

#[tokio::test(start_paused = true)]
async fn at_most_one_leads_and_a_killed_leader_is_replaced_under_a_higher_fence() {
    let lock = Arc::new(FakeLock::default());
    let first = Instance::start(&lock, "first");
    sleep(TICK).await;
    let second = Instance::start(&lock, "second");
    sleep(10 * LEASE).await;
    assert_eq!((first.fence(), second.fence()), (Some(1), None));
    first.task.abort();
    let killed_at = tokio::time::Instant::now();
    while second.fence().is_none() {
        sleep(TICK).await;
        assert!(first.fence().is_none() || second.fence().is_none(), "both lead");
    }
    assert!(killed_at.elapsed() <= LEASE + RENEW_INTERVAL, "{:?}", killed_at.elapsed());
    assert_eq!(second.fence(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_drains_or_stops_hands_over_at_once_and_does_not_return() {
    for end in [|it: &Instance| it.draining.cancel(), |it: &Instance| it.stop.cancel()] {
        let lock = Arc::new(FakeLock::default());
        let first = Instance::start(&lock, "first");
        sleep(TICK).await;
        let second = Instance::start(&lock, "second");
        sleep(TICK).await;
        end(&first);
        sleep(TICK).await;
        assert_eq!(first.fence(), None);
        sleep(RENEW_INTERVAL).await;
        assert_eq!(second.fence(), Some(2));
        second.task.abort();
        sleep(2 * LEASE).await;
        assert_eq!(first.fence(), None, "it does not lead again");
    }
}
