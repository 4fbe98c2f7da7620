//! The registry, locks, and what operators tell the balancers.

use std::time::Duration;

use symbolon::{
    balancer::Algorithm,
    shared_store::{
        Balancing, InstanceRecord, NodeRecord, SharedStore, redis::RedisSharedStore, sqlite::SqliteSharedStore,
    },
};

use super::at;
use crate::servers::{
    DEADLINE,
    redis::{BATCHES, Redis},
};

pub async fn instances_are_there_while_they_are_heard_of(store: &dyn SharedStore) {
    let record = |id: &str, connections| InstanceRecord {
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
    };
    for (id, connections, seconds) in [("a", 1, 0), ("b", 2, 1), ("a", 3, 2)] {
        store.heartbeat(&record(id, connections), at(seconds)).await.expect("an answer");
    }
    let since = async |seconds| store.instances(at(seconds)).await.expect("an answer");
    let all = since(0).await;
    assert_eq!((all.len(), &all["a"], &all["b"]), (2, &(record("a", 3), at(2)), &(record("b", 2), at(1))));
    assert_eq!(since(2).await.keys().collect::<Vec<_>>(), ["a"]);
    store.leave("a").await.expect("an answer");
    assert_eq!(since(0).await.keys().collect::<Vec<_>>(), ["b"]);
}

pub async fn a_lock_has_one_holder_and_a_rising_fence(store: &dyn SharedStore) {
    let lease = Duration::from_secs(10);
    let acquire =
        async |holder: &str, seconds| store.acquire_lock("lock", holder, lease, at(seconds)).await.expect("an answer");
    let holder = async |seconds| store.holder("lock", at(seconds)).await.expect("an answer");
    assert_eq!(holder(0).await, None);
    let first = acquire("a", 0).await.expect("the lock");
    assert_eq!(holder(9).await, Some(("a".to_owned(), first)));
    assert_eq!(acquire("b", 9).await, None);
    assert_eq!(acquire("a", 9).await, Some(first), "extended in time, the fence stays");
    assert_eq!(acquire("b", 18).await, None);
    assert_eq!(holder(19).await, None, "the lease is over");
    let second = acquire("b", 19).await.expect("the lock");
    assert!(second > first);
    store.release_lock("lock", "a").await.expect("an answer");
    assert_eq!(acquire("a", 20).await, None, "only its holder releases a lock");
    assert_eq!(holder(20).await, Some(("b".to_owned(), second)));
    store.release_lock("lock", "b").await.expect("an answer");
    assert_eq!(holder(20).await, None);
    let third = acquire("a", 21).await.expect("the lock");
    assert!(third > second);
    assert!(acquire("a", 40).await.expect("the lock") > third, "a late holder gets a new fence");
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

pub async fn operators_choose_an_algorithm_or_leave_it_to_the_setting(store: &dyn SharedStore) {
    assert_eq!(balancing(store).await, Balancing::default());
    for algorithm in Algorithm::ALL.map(Some).into_iter().chain([None, None]) {
        store.set_algorithm(algorithm).await.expect("an answer");
        assert_eq!(balancing(store).await.algorithm, algorithm);
    }
}

pub async fn an_added_node_is_there_until_it_is_removed(store: &dyn SharedStore) {
    store.set_algorithm(Some(Algorithm::Hash)).await.expect("an answer");
    for added in [node("a", 1), node("b", 1), node("a", 2)] {
        store.add_node(&added).await.expect("an answer");
    }
    let all = balancing(store).await;
    assert_eq!(all.added.values().collect::<Vec<_>>(), [&node("a", 2), &node("b", 1)]);
    assert_eq!((all.removed.len(), all.algorithm), (0, Some(Algorithm::Hash)));
    let remove = async |id| store.remove_node(id, false).await.expect("an answer");
    assert!(!store.readmit_node("a").await.expect("an answer"), "it was not taken out");
    assert!(remove("a").await && !remove("a").await && !remove("algorithm").await);
    let left = balancing(store).await;
    assert_eq!((left.added.into_keys().collect::<Vec<_>>(), left.removed.len()), (vec!["b".to_owned()], 0));
}

pub async fn an_instance_is_out_until_it_is_let_in_again(store: &dyn SharedStore) {
    let remove = async |id, is_instance| store.remove_node(id, is_instance).await.expect("an answer");
    let removed = async || balancing(store).await.removed.into_iter().collect::<Vec<_>>();
    assert!(remove("a", true).await && remove("a", true).await);
    assert_eq!(removed().await, ["a"]);
    assert!(!remove("a", false).await, "it is no added node");
    assert_eq!(removed().await, ["a"]);
    assert!(store.readmit_node("a").await.expect("an answer"));
    assert!(!store.readmit_node("a").await.expect("an answer"));
    assert_eq!(balancing(store).await, Balancing::default());
    remove("b", true).await;
    store.add_node(&node("b", 1)).await.expect("an answer");
    assert_eq!(removed().await, [""; 0], "what is added is not taken out");
    remove("b", true).await;
    assert_eq!((balancing(store).await.added.len(), removed().await), (0, vec!["b".to_owned()]));
}

/// A newer version may know more algorithms.
async fn an_unknown_algorithm_is_none(store: &dyn SharedStore) {
    store.add_node(&node("a", 1)).await.expect("an answer");
    let read = balancing(store).await;
    assert_eq!((read.algorithm, read.added.len()), (None, 1));
}

#[tokio::test]
async fn in_sqlite_an_unknown_algorithm_is_none() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("shared.sqlite");
    let store = SqliteSharedStore::open(&path).await.expect("a store");
    let file = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await.expect("a file");
    sqlx::query("UPDATE balancing SET algorithm = 'clairvoyant'").execute(&file).await.expect("an update");
    an_unknown_algorithm_is_none(&store).await;
}

#[tokio::test]
async fn in_redis_an_unknown_algorithm_is_none() {
    let redis = Redis::start();
    let store = RedisSharedStore::connect(&redis.url(), None, 0, BATCHES).expect("a URL");
    assert!(store.answers_within(DEADLINE).await, "Redis answers");
    redis.command(&["hset", "symbolon:{fleet}:balancing", "algorithm", "clairvoyant"]);
    an_unknown_algorithm_is_none(&store).await;
}

pub async fn a_note_is_replaced_unless_it_was_written_under_a_later_fence(store: &dyn SharedStore) {
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
