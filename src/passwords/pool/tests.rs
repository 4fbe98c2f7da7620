use super::*;

/// A job that waits until it is told to end, and one channel end to tell it by.
fn blocker() -> (mpsc::Sender<()>, impl FnOnce(&mut Memory) + Send + 'static) {
    let (release, wait) = mpsc::channel();
    (release, move |_: &mut Memory| assert!(wait.recv().is_err(), "nothing is ever sent"))
}

impl HashPool {
    /// A place for a check by the one client of most tests.
    fn own_place(&self) -> Result<Place, Saturated> {
        self.place(Network::Unknown, HashKind::Check)
    }
}

/// Has a pool of one thread, on which a hash takes long, compute one.
fn busy(mean: Duration) -> (HashPool, Place) {
    let pool = HashPool::start(1, Duration::from_secs(3));
    pool.record.end(mean, mean);
    let place = pool.own_place().expect("a place");
    (pool, place)
}

#[tokio::test]
async fn a_job_that_waits_past_the_deadline_is_refused() {
    let pool = Arc::new(HashPool::start(1, Duration::from_millis(300)));
    let (release, block) = blocker();
    let busy = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.run(pool.own_place()?, block).await }
    });
    while pool.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    let place = pool.own_place().expect("a place, as nothing is known yet of how long a hash takes");
    assert!(pool.run(place, |_| ()).await.is_err());
    assert_eq!((pool.stats().waiting, pool.stats().computed, pool.stats().refused), (0, 1, 1));
    drop(release);
    assert_eq!(busy.await.expect("the job ends"), Ok(()));
}

#[tokio::test]
async fn a_queue_that_is_too_long_already_refuses_at_once() {
    let (pool, first) = busy(Duration::from_secs(1));
    let second = pool.own_place().expect("a second of waiting");
    let saturated = pool.own_place().expect_err("two seconds of waiting");
    assert!(saturated.retry_after >= Duration::from_secs(2));
    drop(first);
    let third = pool.own_place().expect("who goes away makes room");
    drop((second, third));
    assert_eq!(pool.stats().waiting, 0);
}

#[tokio::test]
async fn of_a_queue_that_stands_those_are_refused_who_came_first() {
    let pool = Arc::new(HashPool::start(1, Duration::from_secs(4)));
    let (release, block) = blocker();
    let begin = |job: Box<dyn FnOnce(&mut Memory) + Send>| {
        let (pool, place) = (Arc::clone(&pool), pool.own_place().expect("a place"));
        tokio::spawn(async move { pool.run(place, job).await })
    };
    let busy = begin(Box::new(block));
    while pool.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    let mut waiting: Vec<_> = (0..6).map(|_| begin(Box::new(|_| ()))).collect();
    tokio::time::sleep(Duration::from_millis(550)).await;
    assert!(pool.own_place().is_err(), "it has been long for more than an eighth of the deadline");
    let newest = waiting.split_off(6 - ENOUGH);
    for first in waiting {
        assert!(first.await.expect("no panic").is_err(), "it waits on");
    }
    drop(release);
    for newest in newest {
        assert_eq!(newest.await.expect("no panic"), Ok(()));
    }
    assert_eq!(busy.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn a_free_thread_is_given_however_long_a_hash_takes() {
    let (pool, place) = busy(Duration::from_secs(60));
    assert_eq!(pool.run(place, |_| 7).await, Ok(7));
}

#[tokio::test]
async fn a_pool_made_smaller_computes_fewer_at_a_time_and_keeps_less() {
    let pool = Arc::new(HashPool::start(3, Duration::from_secs(60)));
    let begin = || {
        let (release, block) = blocker();
        let pool = Arc::clone(&pool);
        (release, tokio::spawn(async move { pool.run(pool.own_place()?, block).await }))
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
async fn there_is_no_more_memory_than_hashes_are_computed_at_a_time() {
    let pool = Arc::new(HashPool::start(4, Duration::from_secs(60)));
    let jobs = (0..200).map(|_| {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move {
            let job = |memory: &mut Memory| memory.blocks(1).len();
            pool.run(pool.own_place().expect("a place"), job).await.expect("a result");
            pool.stats().buffers
        })
    });
    for job in jobs.collect::<Vec<_>>() {
        let buffers = job.await.expect("the job ends");
        assert!(buffers <= 4, "{buffers}");
    }
}

#[tokio::test]
async fn a_panic_in_a_job_costs_only_that_job() {
    let pool = HashPool::start(1, Duration::from_secs(60));
    let place = pool.own_place().expect("a place");
    assert!(pool.run(place, |_| panic!("on purpose")).await.is_err());
    let place = pool.own_place().expect("a place");
    assert_eq!(pool.run(place, |_| 7).await, Ok(7));
    assert_eq!((pool.stats().running, pool.stats().waiting), (0, 0));
}
