//! The leader in paused time, on a lock that answers late, or not at all.

use std::sync::Mutex;

use async_trait::async_trait;
use tokio::time::sleep;

use super::*;
use crate::{store_error::StoreError, sync::MutexExt};

/// A lock whose clock is the paused one.
#[derive(Debug, Default)]
struct Lock(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    holder: String,
    fence: u64,
    until: Option<tokio::time::Instant>,
    /// How long an answer takes after the lock was taken.
    answers_after: Duration,
    is_down: bool,
}

impl Lock {
    fn set(&self, set: impl FnOnce(&mut Held)) {
        set(&mut self.0.locked());
    }
}

fn down() -> StoreError {
    StoreError::Unavailable {
        store: "shared".to_owned(),
        outcome: crate::store_error::Outcome::Unknown,
        source: "it is down".into(),
    }
}

#[async_trait]
impl LockStore for Lock {
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
            delay = held.answers_after;
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

/// An instance that takes part.
struct Instance {
    leader: Leader,
    draining: CancellationToken,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Instance {
    fn start(lock: &Arc<Lock>, id: &str) -> Self {
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

const A_MOMENT: Duration = Duration::from_millis(1);

#[test]
fn a_leadership_ends_before_its_lease() {
    let asked_at = Instant::now();
    let leadership = Leadership::new(7, asked_at);
    assert_eq!(leadership.fence_at(asked_at), Some(7));
    assert_eq!(leadership.fence_at(asked_at + LEASE - MARGIN - A_MOMENT), Some(7));
    assert_eq!(leadership.fence_at(asked_at + LEASE - MARGIN), None);
}

#[tokio::test(start_paused = true)]
async fn the_lease_counts_from_before_the_question() {
    let lock = Arc::new(Lock::default());
    lock.set(|held| held.answers_after = Duration::from_secs(2));
    let first = Instance::start(&lock, "first");
    sleep(Duration::from_secs(2) - A_MOMENT).await;
    assert_eq!(first.fence(), None, "before the answer");
    sleep(2 * A_MOMENT).await;
    assert_eq!(first.fence(), Some(1));
    sleep(LEASE - MARGIN - Duration::from_secs(2)).await;
    assert_eq!(first.fence(), None, "the next answer is not there yet, and the lease nearly over");
}

#[tokio::test(start_paused = true)]
async fn who_can_not_extend_stops_by_itself_before_another_begins() {
    let lock = Arc::new(Lock::default());
    let first = Instance::start(&lock, "first");
    sleep(A_MOMENT).await;
    assert_eq!(first.fence(), Some(1));
    lock.set(|held| held.is_down = true);
    sleep(LEASE - MARGIN - 2 * A_MOMENT).await;
    assert_eq!(first.fence(), Some(1), "a store that is away for less does no harm");
    sleep(2 * A_MOMENT).await;
    assert_eq!(first.fence(), None);
}

#[tokio::test(start_paused = true)]
async fn never_do_two_lead_and_a_killed_leader_is_replaced_with_a_higher_fence() {
    let lock = Arc::new(Lock::default());
    let first = Instance::start(&lock, "first");
    sleep(A_MOMENT).await;
    let second = Instance::start(&lock, "second");
    sleep(10 * LEASE).await;
    assert_eq!((first.fence(), second.fence()), (Some(1), None));
    first.task.abort();
    let killed_at = tokio::time::Instant::now();
    while second.fence().is_none() {
        sleep(A_MOMENT).await;
        assert!(first.fence().is_none() || second.fence().is_none(), "both lead");
    }
    assert!(killed_at.elapsed() <= LEASE + RENEW_INTERVAL, "{:?}", killed_at.elapsed());
    assert_eq!(second.fence(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_drains_or_stops_gives_way_at_once_and_for_good() {
    for ends in [|it: &Instance| it.draining.cancel(), |it: &Instance| it.stop.cancel()] {
        let lock = Arc::new(Lock::default());
        let first = Instance::start(&lock, "first");
        sleep(A_MOMENT).await;
        let second = Instance::start(&lock, "second");
        sleep(A_MOMENT).await;
        ends(&first);
        sleep(A_MOMENT).await;
        assert_eq!(first.fence(), None);
        sleep(RENEW_INTERVAL).await;
        assert_eq!(second.fence(), Some(2));
        second.task.abort();
        sleep(2 * LEASE).await;
        assert_eq!(first.fence(), None, "it does not come back");
    }
}
