use std::sync::atomic::{AtomicUsize, Ordering};

use symbolon_partitioner::{PartitionerSpec, Strategy};

use super::*;
use crate::shards::sqlite::SqliteShard;

async fn shards(directory: &tempfile::TempDir, ids: &[&str]) -> Shards {
    let mut stores: Vec<(String, Arc<dyn ShardStore>)> = Vec::new();
    for &id in ids {
        let path = directory.path().join(id);
        stores.push((id.to_owned(), Arc::new(SqliteShard::open(id, &path, 1).await.expect("a shard"))));
    }
    Shards::new(stores)
}

fn topology(epoch: i64, nodes: &[&str]) -> Topology {
    Topology { epoch, placement: PartitionerSpec::new(Strategy::ConsistentHash, nodes.iter().copied()) }
}

fn stale(epoch: i64) -> StoreError {
    StoreError::StaleEpoch { shard: "a".to_owned(), epoch }
}

#[tokio::test]
async fn no_key_is_placed_before_a_topology_is_adopted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let shards = shards(&directory, &["a"]).await;
    let error = shards.shard_for_user(UserId::generate()).expect_err("no topology");
    assert!(matches!(&error, StoreError::Unavailable { store, .. } if store == "catalog"), "{error:?}");
}

#[tokio::test]
async fn only_a_later_topology_replaces_the_current_one() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let shards = shards(&directory, &["a", "b"]).await;
    assert!(shards.adopt(&topology(2, &["a", "b"])).expect("a topology"));
    assert!(!shards.adopt(&topology(1, &["a"])).expect("a topology"));
    assert!(!shards.adopt(&topology(2, &["a"])).expect("a topology"));
    let placement = shards.current().expect("a topology");
    assert_eq!((placement.epoch, placement.partitioner.nodes().len()), (2, 2));
}

#[tokio::test]
async fn a_topology_with_an_unknown_shard_is_rejected() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let shards = shards(&directory, &["a"]).await;
    assert!(matches!(shards.adopt(&topology(1, &["a", "b"])), Err(AdoptError::NoEndpoint(id)) if id == "b"));
}

#[tokio::test]
async fn an_insert_with_an_outdated_epoch_is_retried_under_the_next_topology() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let shards = shards(&directory, &["a"]).await;
    shards.adopt(&topology(1, &["a"])).expect("a topology");
    let catalog = async {
        shards.refresh_requested().await;
        shards.adopt(&topology(2, &["a"])).expect("a topology");
    };
    let insert = shards.insert(async || match shards.current()?.epoch {
        1 => Err(stale(1)),
        epoch => Ok(epoch),
    });
    let (inserted, ()) = tokio::join!(insert, catalog);
    assert_eq!(inserted.expect("an insert"), 2);
}

#[tokio::test(start_paused = true)]
async fn an_insert_with_an_outdated_epoch_fails_if_no_later_topology_follows() {
    let shards = Shards::new([]);
    let attempts = AtomicUsize::new(0);
    let inserted: Result<(), StoreError> = shards
        .insert(async || {
            attempts.fetch_add(1, Ordering::Relaxed);
            Err(stale(1))
        })
        .await;
    assert!(matches!(inserted, Err(StoreError::StaleEpoch { .. })));
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
}
