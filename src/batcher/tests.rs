use std::sync::Mutex;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::{
    sync::{Notify, Semaphore},
    task::{JoinSet, yield_now},
};

use super::*;

type Versions = Vec<AtomicU64>;
type Found = Result<Vec<(usize, (usize, u64))>, String>;

/// Rows that are written meanwhile; of every five keys the last has none. It answers in any order, some time after it read.
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

/// More time than any test takes.
const LONG: Duration = Duration::from_secs(60);

fn terms(timeout: Duration) -> Terms {
    Terms { timeout, passes: 1 }
}

fn policy(slots: usize, most: usize) -> BatchPolicy {
    BatchPolicy { slots, most }
}

/// Lookups and writes of few keys at once, many of which are given up at some time.
async fn storm(policy: BatchPolicy) {
    let batcher = Arc::new(Batcher::new(policy, terms(LONG)));
    let versions: Arc<Versions> = Arc::new((0..20).map(|_| AtomicU64::new(0)).collect());
    let mut lookups = JoinSet::new();
    for number in 0..6000_usize {
        let (batcher, versions) = (Arc::clone(&batcher), Arc::clone(&versions));
        let lookup = lookups.spawn(async move {
            let key = fastrand::usize(..versions.len());
            let acknowledged = versions[key].fetch_add(1, Ordering::SeqCst) + 1;
            let row = batcher.find(key, fetch(&versions)).await.expect("no failure");
            assert_eq!(row.is_none(), key % 5 == 4, "a row that is not there, or none where there is one");
            if let Some((whose, version)) = row {
                assert_eq!(whose, key, "another reader's row");
                assert!(version >= acknowledged, "older than a write that was acknowledged before");
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
    // A batch under way may have lost its callers just now.
    while (batcher.stats().in_flight, batcher.stats().waiting) != (0, 0) {
        yield_now().await;
    }
    let stats = batcher.stats();
    assert!(stats.batches <= stats.keys && stats.keys <= stats.sent && stats.sent <= stats.lookups, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn among_thousands_that_come_and_go_everyone_gets_their_own_row_and_none_from_before() {
    for (slots, most) in [(1, 1), (1, 64), (2, 4), (3, 64)] {
        storm(policy(slots, most)).await;
    }
}

type Fetched = Result<Vec<(u8, u8)>, String>;

/// A fetch that notes what it was asked for, and answers when it is let.
#[derive(Clone)]
struct Held {
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
    let_go: Arc<Semaphore>,
}

impl Held {
    fn new() -> Self {
        Self { asked: Arc::default(), let_go: Arc::new(Semaphore::new(0)) }
    }

    fn fetch(&self) -> impl Fn(Vec<u8>, Instant) -> BoxFuture<'static, Fetched> + Send + 'static {
        let held = self.clone();
        move |mut keys: Vec<u8>, _| {
            let held = held.clone();
            keys.sort_unstable();
            held.asked.lock().expect("no panic").push(keys.clone());
            async move {
                held.let_go.acquire().await.expect("it is open").forget();
                if keys.contains(&0) { Err("no".to_owned()) } else { Ok(keys.iter().map(|&key| (key, key)).collect()) }
            }
            .boxed()
        }
    }

    fn asked(&self) -> Vec<Vec<u8>> {
        self.asked.lock().expect("no panic").clone()
    }
}

struct Fixture {
    batcher: Arc<Batcher<u8, u8, String>>,
    held: Held,
}

impl Fixture {
    fn new(slots: usize, most: usize) -> Self {
        Self::with_timeout(slots, most, LONG)
    }

    fn with_timeout(slots: usize, most: usize, timeout: Duration) -> Self {
        Self { batcher: Arc::new(Batcher::new(policy(slots, most), terms(timeout))), held: Held::new() }
    }

    /// A lookup that is under way.
    async fn find(&self, key: u8) -> tokio::task::JoinHandle<Result<Option<u8>, Failure<String>>> {
        let (batcher, fetch) = (Arc::clone(&self.batcher), self.held.fetch());
        let before = self.batcher.stats().lookups;
        let lookup = tokio::spawn(async move { batcher.find(key, fetch).await });
        while self.batcher.stats().lookups == before {
            yield_now().await;
        }
        // Its batch leaves, if there is a slot.
        for _ in 0..5 {
            yield_now().await;
        }
        lookup
    }

    fn answer(&self, batches: usize) {
        self.held.let_go.add_permits(batches);
    }
}

#[tokio::test]
async fn a_lookup_leaves_at_once_and_those_that_find_no_slot_leave_together() {
    let fixture = Fixture::new(1, 3);
    let mut lookups = Vec::new();
    for key in [1, 5, 2, 5, 3, 4] {
        lookups.push(fixture.find(key).await);
    }
    assert_eq!(fixture.held.asked(), [vec![1]]);
    fixture.answer(3);
    for (lookup, key) in lookups.into_iter().zip([1, 5, 2, 5, 3, 4]) {
        assert_eq!(lookup.await.expect("no panic"), Ok(Some(key)));
    }
    assert_eq!(fixture.held.asked(), [vec![1], vec![2, 3, 5], vec![4]]);
    let stats = fixture.batcher.stats();
    assert_eq!((stats.lookups, stats.batches, stats.keys, stats.sent), (6, 3, 5, 6));
}

/// Those that come together.
async fn together(fixture: &Fixture, keys: &[u8]) {
    let lookups = keys.iter().map(|&key| fixture.batcher.find(key, fixture.held.fetch()));
    for (found, key) in futures_util::future::join_all(lookups).await.into_iter().zip(keys) {
        assert_eq!(found, Ok(Some(*key)));
    }
}

#[tokio::test]
async fn lookups_that_come_together_leave_together_even_if_a_slot_is_free() {
    let fixture = Fixture::new(2, 3);
    fixture.answer(100);
    together(&fixture, &[1, 2, 3, 4, 4, 5]).await;
    assert_eq!(fixture.held.asked(), [vec![1, 2, 3], vec![4, 5]]);
    // One that comes alone does so soon: it waits for company once, and then no more.
    for key in [6, 7] {
        together(&fixture, &[key]).await;
    }
    assert_eq!(fixture.held.asked()[2..], [[6], [7]]);
}

#[tokio::test]
async fn a_lookup_never_joins_a_batch_that_was_sent() {
    let fixture = Fixture::new(1, 64);
    let (first, second) = (fixture.find(1).await, fixture.find(1).await);
    fixture.answer(2);
    for lookup in [first, second] {
        assert_eq!(lookup.await.expect("no panic"), Ok(Some(1)));
    }
    assert_eq!(fixture.held.asked(), [[1], [1]]);
}

#[tokio::test]
async fn a_failure_is_told_to_all_of_its_batch_and_to_nobody_else() {
    let fixture = Fixture::new(1, 2);
    let mut lookups = Vec::new();
    for key in [1, 0, 2, 3] {
        lookups.push(fixture.find(key).await);
    }
    fixture.answer(3);
    let no = Err(Failure::Fetch("no".to_owned()));
    let expected = [Ok(Some(1)), no.clone(), no, Ok(Some(3))];
    for (lookup, expected) in lookups.into_iter().zip(expected) {
        assert_eq!(lookup.await.expect("no panic"), expected);
    }
}

#[tokio::test]
async fn a_batch_that_all_have_left_is_given_up_and_keys_that_all_have_left_are_not_asked_for() {
    let fixture = Fixture::new(1, 64);
    let first = fixture.find(1).await;
    let (left, stays, last) = (fixture.find(2).await, fixture.find(3).await, fixture.find(3).await);
    left.abort();
    last.abort();
    // Without an answer: its caller goes away, and the slot is free.
    first.abort();
    while fixture.held.asked().len() < 2 {
        yield_now().await;
    }
    fixture.answer(1);
    assert_eq!(stays.await.expect("no panic"), Ok(Some(3)));
    assert_eq!(fixture.held.asked(), [[1], [3]]);
}

#[tokio::test]
async fn a_batch_that_panics_leaves_nobody_waiting_and_the_slot_free() {
    let batcher: Arc<Batcher<u8, u8, String>> = Arc::new(Batcher::new(policy(1, 64), terms(LONG)));
    let falls = Arc::new(Notify::new());
    let dying = {
        let falls = Arc::clone(&falls);
        move |_, _| {
            let falls = Arc::clone(&falls);
            async move {
                falls.notified().await;
                panic!("the batch dies")
            }
        }
    };
    let fine = async |key| {
        batcher.find(key, |keys: Vec<u8>, _| async { Ok(keys.into_iter().map(|key| (key, key)).collect()) }).await
    };
    let late = async {
        while batcher.stats().batches == 0 {
            yield_now().await;
        }
        tokio::join!(fine(2), async { falls.notify_one() }).0
    };
    let (first, second) = tokio::join!(batcher.find(1, dying), late);
    assert_eq!((first, second), (Err(Failure::Died), Err(Failure::Died)));
    assert_eq!(fine(3).await, Ok(Some(3)));
}

const TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn a_lookup_is_told_when_its_time_is_up_whether_it_was_sent_or_waits() {
    let fixture = Fixture::with_timeout(1, 64, TIMEOUT);
    let mut lookups = Vec::new();
    for key in [1, 2, 2, 3] {
        lookups.push((fixture.find(key).await, Instant::now()));
        tokio::time::sleep(TIMEOUT / 10).await;
    }
    for (lookup, began) in lookups {
        assert_eq!(lookup.await.expect("no panic"), Err(Failure::Late));
        let took = began.elapsed();
        assert!((TIMEOUT..TIMEOUT + Duration::from_millis(5)).contains(&took), "{took:?}");
    }
    // It is given up.
    while (fixture.batcher.stats().in_flight, fixture.batcher.stats().waiting) != (0, 0) {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_share_a_batch_have_their_own_time() {
    let fixture = Fixture::with_timeout(1, 64, TIMEOUT);
    let first = fixture.find(1).await;
    let early = fixture.find(2).await;
    tokio::time::sleep(TIMEOUT / 2).await;
    let late = (fixture.find(2).await, fixture.find(3).await);
    fixture.answer(1);
    assert_eq!(first.await.expect("no panic"), Ok(Some(1)));
    assert_eq!(early.await.expect("no panic"), Err(Failure::Late));
    fixture.answer(1);
    assert_eq!(late.0.await.expect("no panic"), Ok(Some(2)));
    assert_eq!(late.1.await.expect("no panic"), Ok(Some(3)));
    assert_eq!(fixture.held.asked(), [vec![1], vec![2, 3]]);
}
