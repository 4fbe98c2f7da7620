//! The registry of instances, locks, notes, and balancer changes of operators.

use std::time::Duration;

use symbolon_balancer::Algorithm;

use symbolon::{
    clock::Timestamp,
    shared_store::{Balancing, InstanceRecord, NodeRecord, SharedStore},
};

use crate::support::{
    servers::redis::Redis,
    sqlite,
    stores::{default_redis_store, sqlite_store},
    until,
};

fn record(id: &str, connections: u64) -> InstanceRecord {
    InstanceRecord {
        id: id.into(),
        url: format!("http://{id}"),
        weight: 1,
        region: "r".into(),
        zone: "z".into(),
        version: "1".into(),
        draining: false,
        current_connections: connections,
        max_connections: 10,
        average_response_time: 0.25,
        load: None,
        process_id: None,
    }
}

pub async fn instances_are_listed_while_their_heartbeats_are_recent(store: &dyn SharedStore) {
    let heartbeat = async |id: &str, connections| store.heartbeat(&record(id, connections)).await.expect("an answer");
    assert_eq!(heartbeat("a", 1).await, None);
    assert_eq!(heartbeat("b", 2).await, None);
    let recent = async |age| store.instances(age).await.expect("an answer");
    let long = Duration::from_secs(3600);
    let all = recent(long).await;
    assert_eq!((all.len(), &all["a"].0, &all["b"].0), (2, &record("a", 1), &record("b", 2)));
    let short = Duration::from_millis(500);
    until("the last heartbeat of b is too old", async || {
        assert_eq!(heartbeat("a", 3).await.map(|before| before.id).as_deref(), Some("a"));
        !recent(short).await.contains_key("b")
    })
    .await;
    let (known, all) = (recent(short).await, recent(long).await);
    assert_eq!(known.into_values().map(|(record, _)| record).collect::<Vec<_>>(), [record("a", 3)]);
    assert!(all["a"].1 > all["b"].1);
    store.leave("a").await.expect("an answer");
    assert_eq!(recent(long).await.keys().collect::<Vec<_>>(), ["b"]);
}

pub async fn a_lock_has_one_holder_and_a_rising_fence(store: &dyn SharedStore) {
    let (long, short) = (Duration::from_secs(3600), Duration::from_millis(300));
    let acquire =
        async |lock: &str, holder: &str, lease| store.acquire_lock(lock, holder, lease).await.expect("an answer");
    let holder = async |lock: &str| store.holder(lock).await.expect("an answer");
    assert_eq!(holder("lock").await, None);
    let first = acquire("lock", "a", long).await.expect("the lock");
    assert_eq!(holder("lock").await, Some(("a".to_owned(), first)));
    assert_eq!(acquire("lock", "b", long).await, None);
    assert_eq!(acquire("lock", "a", long).await, Some(first), "extended in time, the fence stays");
    store.release_lock("lock", "b").await.expect("an answer");
    assert_eq!(acquire("lock", "b", long).await, None, "only its holder releases a lock");
    store.release_lock("lock", "a").await.expect("an answer");
    assert_eq!(holder("lock").await, None);
    let second = acquire("lock", "b", long).await.expect("the lock");
    assert!(second > first);

    let first = acquire("brief", "a", short).await.expect("the lock");
    until("the lease is over", async || holder("brief").await.is_none()).await;
    let second = acquire("brief", "b", short).await.expect("the lock");
    assert!(second > first);
    until("the lease is over", async || holder("brief").await.is_none()).await;
    assert!(acquire("brief", "b", short).await.expect("the lock") > second, "a late holder gets a new fence");
}

/// As after the store's clock was set back: stored times are in the future.
pub async fn a_lock_that_lasts_too_long_is_shortened_to_a_lease(store: &dyn SharedStore) {
    let lease = Duration::from_millis(300);
    store.acquire_lock("lock", "a", Duration::from_secs(3600)).await.expect("an answer").expect("the lock");
    let acquire = async || store.acquire_lock("lock", "b", lease).await.expect("an answer");
    assert_eq!(acquire().await, None, "it is not taken from its holder");
    until("the lock ends", async || acquire().await.is_some()).await;
}

fn node(id: &str, weight: u32) -> NodeRecord {
    NodeRecord {
        id: id.into(),
        url: format!("http://{id}"),
        weight,
        max_connections: u32::MAX,
        region: "r".into(),
        zone: "z".into(),
    }
}

async fn balancing(store: &dyn SharedStore) -> Balancing {
    store.balancing().await.expect("an answer")
}

pub async fn operators_set_and_reset_the_algorithm(store: &dyn SharedStore) {
    assert_eq!(balancing(store).await, Balancing::default());
    for algorithm in Algorithm::ALL.iter().copied().map(Some).chain([None, None]) {
        store.set_algorithm(algorithm).await.expect("an answer");
        assert_eq!(balancing(store).await.algorithm, algorithm);
    }
}

pub async fn an_added_node_is_listed_until_removed(store: &dyn SharedStore) {
    store.set_algorithm(Some(Algorithm::Hash)).await.expect("an answer");
    for added in [node("a", 1), node("b", 1), node("a", 2)] {
        store.add_node(&added).await.expect("an answer");
    }
    let all = balancing(store).await;
    assert_eq!(all.added.values().collect::<Vec<_>>(), [&node("a", 2), &node("b", 1)]);
    assert_eq!((all.removed.len(), all.algorithm), (0, Some(Algorithm::Hash)));
    let remove = async |id| store.remove_node(id, false).await.expect("an answer");
    assert!(!store.readmit_node("a").await.expect("an answer"), "it was not removed");
    assert!(remove("a").await && !remove("a").await && !remove("algorithm").await);
    let left = balancing(store).await;
    assert_eq!((left.added.into_keys().collect::<Vec<_>>(), left.removed.len()), (vec!["b".to_owned()], 0));
}

pub async fn a_removed_instance_is_listed_until_readmitted(store: &dyn SharedStore) {
    let remove = async |id, is_instance| store.remove_node(id, is_instance).await.expect("an answer");
    let removed = async || balancing(store).await.removed.into_iter().collect::<Vec<_>>();
    assert!(remove("a", true).await && remove("a", true).await);
    assert_eq!(removed().await, ["a"]);
    assert!(!remove("a", false).await, "it is not an added node");
    assert_eq!(removed().await, ["a"]);
    assert!(store.readmit_node("a").await.expect("an answer"));
    assert!(!store.readmit_node("a").await.expect("an answer"));
    assert_eq!(balancing(store).await, Balancing::default());
    remove("b", true).await;
    store.add_node(&node("b", 1)).await.expect("an answer");
    assert_eq!(removed().await, [""; 0], "an added node is not removed");
    remove("b", true).await;
    assert_eq!((balancing(store).await.added.len(), removed().await), (0, vec!["b".to_owned()]));
}

/// Another version may know more algorithms.
async fn an_unknown_algorithm_is_ignored(store: &dyn SharedStore) {
    store.add_node(&node("a", 1)).await.expect("an answer");
    let read = balancing(store).await;
    assert_eq!((read.algorithm, read.added.len()), (None, 1));
}

#[tokio::test]
async fn in_sqlite_an_unknown_algorithm_is_ignored() {
    let (directory, store) = sqlite_store().await;
    let mut file = sqlite(&directory.path().join("shared.sqlite")).await;
    sqlx::query("UPDATE balancing SET algorithm = 'clairvoyant'").execute(&mut file).await.expect("an update");
    an_unknown_algorithm_is_ignored(&store).await;
}

#[tokio::test]
async fn in_redis_an_unknown_algorithm_is_ignored() {
    let redis = Redis::start();
    let store = default_redis_store(&redis).await;
    redis.command(&["hset", "symbolon:{fleet}:balancing", "algorithm", "clairvoyant"]);
    an_unknown_algorithm_is_ignored(&store).await;
}

pub async fn a_note_is_replaced_unless_written_under_a_higher_fence(store: &dyn SharedStore) {
    assert_eq!(store.note("plan").await.expect("an answer"), None);
    let written = async |text, fence| store.write_note("plan", text, fence).await.expect("an answer");
    assert!(written("first", 0).await);
    assert!(written("second, with \"quotes\"", 9).await);
    assert!(!written("late", 8).await);
    assert_eq!(store.note("plan").await.expect("an answer").as_deref(), Some("second, with \"quotes\""));
    assert!(written("third", 9).await);
    assert!(written("fourth", 10).await);
    assert_eq!(store.note("plan").await.expect("an answer").as_deref(), Some("fourth"));
    assert_eq!(store.note("another").await.expect("an answer"), None);
}

const TWO_DAYS: Duration = Duration::from_secs(48 * 3600);

/// Removes an absent instance and a present one, and has `age` set the time of that two days back. Asserts that reaping then
/// forgets the absent one only.
async fn assert_only_absent_is_forgotten(
    store: &dyn SharedStore,
    present: &InstanceRecord,
    age: impl AsyncFnOnce(Timestamp),
) {
    store.heartbeat(present).await.expect("an answer");
    for id in ["gone", &present.id] {
        assert!(store.remove_node(id, true).await.expect("an answer"));
    }
    store.add_node(&node("added", 1)).await.expect("an answer");
    store.reap(Timestamp::now()).await.expect("an answer");
    assert_eq!(balancing(store).await.removed.len(), 2, "they have just been removed");
    age(Timestamp::from_millis(Timestamp::now().millis() - TWO_DAYS.as_millis() as i64)).await;
    assert!(store.remove_node("new", true).await.expect("an answer"));
    store.reap(Timestamp::now()).await.expect("an answer");
    let left = balancing(store).await;
    assert_eq!(left.removed.iter().collect::<Vec<_>>(), ["new", &present.id]);
    assert_eq!(left.added.len(), 1);
}

#[tokio::test]
async fn in_sqlite_a_removed_instance_is_forgotten_a_day_after_it_left() {
    let (directory, store) = sqlite_store().await;
    let mut file = sqlite(&directory.path().join("shared.sqlite")).await;
    assert_only_absent_is_forgotten(&store, &record("present", 1), async |then| {
        let age = sqlx::query("UPDATE balancer_nodes SET removed_at = ? WHERE record IS NULL").bind(then.millis());
        age.execute(&mut file).await.expect("an update");
    })
    .await;
}

#[tokio::test]
async fn in_redis_a_removed_instance_is_forgotten_a_day_after_it_left() {
    let redis = Redis::start();
    let store = default_redis_store(&redis).await;
    assert_only_absent_is_forgotten(&store, &record("present", 1), async |then| {
        for id in ["gone", "present"] {
            redis.command(&["zadd", "symbolon:{fleet}:removed", &then.millis().to_string(), id]);
        }
    })
    .await;
}
