use std::sync::Mutex;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::{
    sync::{Notify, Semaphore},
    task::{JoinSet, yield_now},
};

use super::*;

type Versions = Vec<AtomicU64>;
type Found = Result<Vec<(usize, (usize, u64))>, String>;

/// Returns the current versions in random order, some time after reading them. Every fifth key has no row.
fn fetch(
    versions: &Arc<Versions>,
) -> impl Fn(Vec<usize>, Instant) -> BoxFuture<'static, Found> + Clone + Send + 'static {
    let versions = Arc::clone(versions);
    move |keys, _| {
        let mut rows: Vec<_> = keys
            .into_iter()
            .filter(|key| key % 5 != 4)
            .map(|key| (key, (key, versions[key].load(Ordering::SeqCst))))
            .collect();
        async move {
            for _ in 0..fastrand::usize(..5) {
                yield_now().await;
            }
            fastrand::shuffle(&mut rows);
            Ok(rows)
        }
        .boxed()
    }
}

/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);

fn timing(timeout: Duration) -> BatchTiming {
    BatchTiming { timeout, yields: 1 }
}

fn limits(max_in_flight: usize, max_keys: usize) -> BatchLimits {
    BatchLimits { max_in_flight, max_keys }
}

/// Runs concurrent lookups and writes of few keys, a third of which are cancelled.
async fn run_concurrent_lookups(limits: BatchLimits) {
    let batcher = Arc::new(Batcher::new(limits, timing(LONG)));
    let versions: Arc<Versions> = Arc::new((0..20).map(|_| AtomicU64::new(0)).collect());
    let mut lookups = JoinSet::new();
    for number in 0..6000_usize {
        let (batcher, versions) = (Arc::clone(&batcher), Arc::clone(&versions));
        let lookup = lookups.spawn(async move {
            let key = fastrand::usize(..versions.len());
            let acknowledged = versions[key].fetch_add(1, Ordering::SeqCst) + 1;
            let row = batcher.find(key, fetch(&versions)).await.expect("no failure");
            assert_eq!(row.is_none(), key % 5 == 4, "a missing row, or a row of a key without one");
            if let Some((owner, version)) = row {
                assert_eq!(owner, key, "the row of another key");
                assert!(version >= acknowledged, "older than an acknowledged write");
            }
        });
        if fastrand::u8(..3) == 0 {
            lookup.abort();
        }
        if number % 50 == 0 {
            yield_now().await;
        }
    }
    while let Some(done) = lookups.join_next().await {
        assert!(done.is_ok() || done.is_err_and(|error| error.is_cancelled()));
    }
    // The last batch may still be in flight after its lookups were cancelled.
    while (batcher.stats().in_flight, batcher.stats().waiting) != (0, 0) {
        yield_now().await;
    }
    let stats = batcher.stats();
    assert!(stats.batches <= stats.keys && stats.keys <= stats.sent && stats.sent <= stats.lookups, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_lookups_get_their_own_rows_and_no_stale_ones() {
    for (max_in_flight, max_keys) in [(1, 1), (1, 64), (2, 4), (3, 64)] {
        run_concurrent_lookups(limits(max_in_flight, max_keys)).await;
    }
}

type Fetched = Result<Vec<(u8, u8)>, String>;

/// A fetch that records its keys, and answers when it is released.
#[derive(Clone)]
struct Backend {
    requested: Arc<Mutex<Vec<Vec<u8>>>>,
    released: Arc<Semaphore>,
}

impl Backend {
    fn new() -> Self {
        Self { requested: Arc::default(), released: Arc::new(Semaphore::new(0)) }
    }

    fn fetch(&self) -> impl Fn(Vec<u8>, Instant) -> BoxFuture<'static, Fetched> + Send + 'static {
        let backend = self.clone();
        move |mut keys: Vec<u8>, _| {
            let backend = backend.clone();
            keys.sort_unstable();
            backend.requested.lock().expect("no panic").push(keys.clone());
            async move {
                backend.released.acquire().await.expect("it is open").forget();
                if keys.contains(&0) { Err("no".to_owned()) } else { Ok(keys.iter().map(|&key| (key, key)).collect()) }
            }
            .boxed()
        }
    }

    fn requested(&self) -> Vec<Vec<u8>> {
        self.requested.lock().expect("no panic").clone()
    }
}

struct Fixture {
    batcher: Arc<Batcher<u8, u8, String>>,
    backend: Backend,
}

impl Fixture {
    fn new(max_in_flight: usize, max_keys: usize) -> Self {
        Self::with_timeout(max_in_flight, max_keys, LONG)
    }

    fn with_timeout(max_in_flight: usize, max_keys: usize, timeout: Duration) -> Self {
        Self {
            batcher: Arc::new(Batcher::new(limits(max_in_flight, max_keys), timing(timeout))),
            backend: Backend::new(),
        }
    }

    /// Starts a lookup.
    async fn find(&self, key: u8) -> tokio::task::JoinHandle<Result<Option<u8>, BatchError<String>>> {
        let (batcher, fetch) = (Arc::clone(&self.batcher), self.backend.fetch());
        let before = self.batcher.stats().lookups;
        let lookup = tokio::spawn(async move { batcher.find(key, fetch).await });
        while self.batcher.stats().lookups == before {
            yield_now().await;
        }
        // Lets its batch be sent, if a slot is free.
        for _ in 0..5 {
            yield_now().await;
        }
        lookup
    }

    fn answer(&self, batches: usize) {
        self.backend.released.add_permits(batches);
    }
}

#[tokio::test]
async fn a_lookup_is_sent_at_once_and_waiting_ones_are_sent_together() {
    let fixture = Fixture::new(1, 3);
    let mut lookups = Vec::new();
    for key in [1, 5, 2, 5, 3, 4] {
        lookups.push(fixture.find(key).await);
    }
    assert_eq!(fixture.backend.requested(), [vec![1]]);
    fixture.answer(3);
    for (lookup, key) in lookups.into_iter().zip([1, 5, 2, 5, 3, 4]) {
        assert_eq!(lookup.await.expect("no panic"), Ok(Some(key)));
    }
    assert_eq!(fixture.backend.requested(), [vec![1], vec![2, 3, 5], vec![4]]);
    let stats = fixture.batcher.stats();
    assert_eq!((stats.lookups, stats.batches, stats.keys, stats.sent), (6, 3, 5, 6));
}

/// Runs concurrent lookups of these keys.
async fn find_all(fixture: &Fixture, keys: &[u8]) {
    let lookups = keys.iter().map(|&key| fixture.batcher.find(key, fixture.backend.fetch()));
    for (found, key) in futures_util::future::join_all(lookups).await.into_iter().zip(keys) {
        assert_eq!(found, Ok(Some(*key)));
    }
}

#[tokio::test]
async fn concurrent_lookups_share_a_batch_even_if_a_slot_is_free() {
    let fixture = Fixture::new(2, 3);
    fixture.answer(100);
    find_all(&fixture, &[1, 2, 3, 4, 4, 5]).await;
    assert_eq!(fixture.backend.requested(), [vec![1, 2, 3], vec![4, 5]]);
    // A single lookup yields once, as the batch before it had several; after that no more.
    for key in [6, 7] {
        find_all(&fixture, &[key]).await;
    }
    assert_eq!(fixture.backend.requested()[2..], [[6], [7]]);
}

#[tokio::test]
async fn a_lookup_never_joins_a_batch_that_was_sent() {
    let fixture = Fixture::new(1, 64);
    let (first, second) = (fixture.find(1).await, fixture.find(1).await);
    fixture.answer(2);
    for lookup in [first, second] {
        assert_eq!(lookup.await.expect("no panic"), Ok(Some(1)));
    }
    assert_eq!(fixture.backend.requested(), [[1], [1]]);
}

#[tokio::test]
async fn a_failure_reaches_exactly_the_lookups_of_its_batch() {
    let fixture = Fixture::new(1, 2);
    let mut lookups = Vec::new();
    for key in [1, 0, 2, 3] {
        lookups.push(fixture.find(key).await);
    }
    fixture.answer(3);
    let failure = Err(BatchError::Fetch("no".to_owned()));
    let expected = [Ok(Some(1)), failure.clone(), failure, Ok(Some(3))];
    for (lookup, expected) in lookups.into_iter().zip(expected) {
        assert_eq!(lookup.await.expect("no panic"), expected);
    }
}

#[tokio::test]
async fn batches_and_keys_without_lookups_are_given_up() {
    let fixture = Fixture::new(1, 64);
    let first = fixture.find(1).await;
    let (cancelled, kept, last) = (fixture.find(2).await, fixture.find(3).await, fixture.find(3).await);
    cancelled.abort();
    last.abort();
    // The batch has no answer yet. Cancelling its lookup frees the slot.
    first.abort();
    while fixture.backend.requested().len() < 2 {
        yield_now().await;
    }
    fixture.answer(1);
    assert_eq!(kept.await.expect("no panic"), Ok(Some(3)));
    assert_eq!(fixture.backend.requested(), [[1], [3]]);
}

#[tokio::test]
async fn a_batch_that_panics_fails_all_lookups_and_frees_the_slot() {
    let batcher: Arc<Batcher<u8, u8, String>> = Arc::new(Batcher::new(limits(1, 64), timing(LONG)));
    let panics = Arc::new(Notify::new());
    let panicking = {
        let panics = Arc::clone(&panics);
        move |_, _| {
            let panics = Arc::clone(&panics);
            async move {
                panics.notified().await;
                panic!("the batch panics")
            }
        }
    };
    let find = async |key| {
        batcher.find(key, |keys: Vec<u8>, _| async { Ok(keys.into_iter().map(|key| (key, key)).collect()) }).await
    };
    let waiting = async {
        while batcher.stats().batches == 0 {
            yield_now().await;
        }
        tokio::join!(find(2), async { panics.notify_one() }).0
    };
    let (first, second) = tokio::join!(batcher.find(1, panicking), waiting);
    assert_eq!((first, second), (Err(BatchError::Aborted), Err(BatchError::Aborted)));
    assert_eq!(find(3).await, Ok(Some(3)));
}

const TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn a_lookup_times_out_whether_it_waits_or_was_sent() {
    let fixture = Fixture::with_timeout(1, 64, TIMEOUT);
    let mut lookups = Vec::new();
    for key in [1, 2, 2, 3] {
        lookups.push((fixture.find(key).await, Instant::now()));
        tokio::time::sleep(TIMEOUT / 10).await;
    }
    for (lookup, start) in lookups {
        assert_eq!(lookup.await.expect("no panic"), Err(BatchError::TimedOut));
        let took = start.elapsed();
        assert!((TIMEOUT..TIMEOUT + Duration::from_millis(5)).contains(&took), "{took:?}");
    }
    // The batch is given up.
    while (fixture.batcher.stats().in_flight, fixture.batcher.stats().waiting) != (0, 0) {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn lookups_of_one_batch_have_their_own_deadlines() {
    let fixture = Fixture::with_timeout(1, 64, TIMEOUT);
    let first = fixture.find(1).await;
    let early = fixture.find(2).await;
    tokio::time::sleep(TIMEOUT / 2).await;
    let late = (fixture.find(2).await, fixture.find(3).await);
    fixture.answer(1);
    assert_eq!(first.await.expect("no panic"), Ok(Some(1)));
    assert_eq!(early.await.expect("no panic"), Err(BatchError::TimedOut));
    fixture.answer(1);
    assert_eq!(late.0.await.expect("no panic"), Ok(Some(2)));
    assert_eq!(late.1.await.expect("no panic"), Ok(Some(3)));
    assert_eq!(fixture.backend.requested(), [vec![1], vec![2, 3]]);
}
