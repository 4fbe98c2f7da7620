use super::*;

/// Returns a job that blocks, and the sender whose drop ends it.
fn blocker() -> (mpsc::Sender<()>, impl FnOnce(&mut HashMemory) + Send + 'static) {
    let (release, wait) = mpsc::channel();
    (release, move |_: &mut HashMemory| assert!(wait.recv().is_err(), "nothing is ever sent"))
}

impl HashPool {
    /// Reserves a slot for a check by the client of most tests.
    fn own_slot(&self) -> Result<QueueSlot, Saturated> {
        self.reserve(Network::Unknown, HashKind::Check)
    }
}

/// Returns a pool of one thread with a mean hash duration of `mean`, and its only slot.
fn busy(mean: Duration) -> (HashPool, QueueSlot) {
    let pool = HashPool::start(1, Duration::from_secs(3));
    pool.counters.end(mean, mean);
    let slot = pool.own_slot().expect("a queue slot");
    (pool, slot)
}

#[tokio::test]
async fn a_job_that_waits_past_the_queue_timeout_is_refused() {
    let pool = Arc::new(HashPool::start(1, Duration::from_millis(300)));
    let (release, block) = blocker();
    let busy = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.run(pool.own_slot()?, block).await }
    });
    while pool.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    let slot = pool.own_slot().expect("a slot, because the duration of a hash is unknown yet");
    assert!(pool.run(slot, |_| ()).await.is_err());
    assert_eq!((pool.stats().waiting, pool.stats().computed, pool.stats().refused), (0, 1, 1));
    drop(release);
    assert_eq!(busy.await.expect("the job ends"), Ok(()));
}

#[tokio::test]
async fn a_queue_that_is_too_long_refuses_at_once() {
    let (pool, first) = busy(Duration::from_secs(1));
    let second = pool.own_slot().expect("a second of waiting");
    let saturated = pool.own_slot().expect_err("two seconds of waiting");
    assert!(saturated.retry_after >= Duration::from_secs(2));
    drop(first);
    let third = pool.own_slot().expect("a freed slot");
    drop((second, third));
    assert_eq!(pool.stats().waiting, 0);
}

#[tokio::test]
async fn a_standing_queue_evicts_its_oldest_slots() {
    let pool = Arc::new(HashPool::start(1, Duration::from_secs(4)));
    let (release, block) = blocker();
    let begin = |job: Box<dyn FnOnce(&mut HashMemory) + Send>| {
        let (pool, slot) = (Arc::clone(&pool), pool.own_slot().expect("a queue slot"));
        tokio::spawn(async move { pool.run(slot, job).await })
    };
    let busy = begin(Box::new(block));
    while pool.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    let mut waiting: Vec<_> = (0..6).map(|_| begin(Box::new(|_| ()))).collect();
    tokio::time::sleep(Duration::from_millis(550)).await;
    assert!(pool.own_slot().is_err(), "it has been long for more than an eighth of the queue timeout");
    let newest = waiting.split_off(6 - FLOW_LIMIT_PER_THREAD);
    for first in waiting {
        assert!(first.await.expect("no panic").is_err(), "it was not evicted");
    }
    drop(release);
    for newest in newest {
        assert_eq!(newest.await.expect("no panic"), Ok(()));
    }
    assert_eq!(busy.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn a_free_thread_is_used_however_long_a_hash_takes() {
    let (pool, slot) = busy(Duration::from_secs(60));
    assert_eq!(pool.run(slot, |_| 7).await, Ok(7));
}

#[tokio::test]
async fn shrinking_the_pool_lowers_concurrency_and_memory() {
    let pool = Arc::new(HashPool::start(3, Duration::from_secs(60)));
    let begin = || {
        let (release, block) = blocker();
        let pool = Arc::clone(&pool);
        (release, tokio::spawn(async move { pool.run(pool.own_slot()?, block).await }))
    };
    let jobs: Vec<_> = (0..3).map(|_| begin()).collect();
    while pool.stats().running < 3 {
        tokio::task::yield_now().await;
    }
    pool.resize(3, 1);
    let (release, job) = begin();
    for (release, job) in jobs {
        drop(release);
        assert_eq!(job.await.expect("the job ends"), Ok(()));
    }
    while pool.stats().running != 1 {
        tokio::task::yield_now().await;
    }
    drop(release);
    assert_eq!(job.await.expect("the job ends"), Ok(()));
    let stats = pool.stats();
    assert_eq!((stats.threads, stats.waiting), (1, 0));
    assert_eq!(stats.buffers, 1, "{stats:?}");
    pool.resize(3, 3);
    assert_eq!(pool.stats().threads, 3);
}

#[tokio::test]
async fn there_are_no_more_buffers_than_hashes_computed_at_a_time() {
    let pool = Arc::new(HashPool::start(4, Duration::from_secs(60)));
    let jobs = (0..200).map(|_| {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move {
            let job = |memory: &mut HashMemory| memory.blocks(1).len();
            pool.run(pool.own_slot().expect("a queue slot"), job).await.expect("a result");
            pool.stats().buffers
        })
    });
    for job in jobs.collect::<Vec<_>>() {
        let buffers = job.await.expect("the job ends");
        assert!(buffers <= 4, "{buffers}");
    }
}

#[tokio::test]
async fn a_panic_fails_only_its_own_job() {
    let pool = HashPool::start(1, Duration::from_secs(60));
    let slot = pool.own_slot().expect("a queue slot");
    assert!(pool.run(slot, |_| panic!("on purpose")).await.is_err());
    let slot = pool.own_slot().expect("a queue slot");
    assert_eq!(pool.run(slot, |_| 7).await, Ok(7));
    assert_eq!((pool.stats().running, pool.stats().waiting), (0, 0));
}
