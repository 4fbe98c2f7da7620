//! Batches of lookups on a PostgreSQL shard.

use std::time::Duration;

use symbolon_batcher::{BatchLimits, BatchStats};

use crate::support::{
    rows::{claimed, user},
    servers::postgres::Postgres,
};
use symbolon::{
    model::{User, UserId},
    shards::{
        ShardStore,
        postgres::{PgShard, ShardLimits},
    },
    store_error::StoreError,
};

const EPOCH: i64 = 1;

/// One batch at a time: concurrent lookups are at most two batches.
const LIMITS: ShardLimits = ShardLimits {
    connections: 8,
    timeout: Duration::from_secs(30),
    batches: BatchLimits { max_in_flight: 1, max_keys: 64 },
};

async fn opened(server: &Postgres, limits: ShardLimits) -> PgShard {
    let shard = PgShard::new("shard", server.database("shard").parse().expect("a URL"), limits);
    shard.prepare(EPOCH).await.expect("a shard");
    shard
}

async fn inserted(shard: &PgShard, count: usize) -> Vec<User> {
    let user = user().await;
    let users: Vec<User> = (0..count).map(|_| User { user_id: UserId::generate(), ..user.clone() }).collect();
    for user in &users {
        assert!(shard.insert_user(EPOCH, user).await.expect("an answer"));
    }
    users
}

fn counts(stats: BatchStats) -> (u64, u64, u64) {
    (stats.lookups, stats.batches, stats.keys)
}

#[tokio::test]
async fn concurrent_lookups_share_a_query_and_get_their_own_rows() {
    let server = Postgres::start();
    let shard = opened(&server, LIMITS).await;
    let mut users = inserted(&shard, 5).await;
    let absent = UserId::generate();
    users.push(users[2].clone());
    let lookups = users.iter().map(|user| shard.find_user(user.user_id));
    let (found, missing) = tokio::join!(futures_util::future::join_all(lookups), shard.find_user(absent));
    for (user, found) in users.iter().zip(found) {
        assert_eq!(found.expect("an answer").as_ref(), Some(user));
    }
    assert_eq!(missing.expect("an answer"), None);
    let batching = shard.batching().expect("batches");
    assert_eq!((counts(batching.users), counts(batching.names)), ((7, 1, 6), (0, 0, 0)));
}

#[tokio::test]
async fn batches_of_one_key_are_not_batched() {
    let server = Postgres::start();
    let shard = opened(&server, ShardLimits { batches: BatchLimits { max_in_flight: 1, max_keys: 1 }, ..LIMITS }).await;
    let ada = claimed(&shard, EPOCH, "ada").await;
    let (first, second) = tokio::join!(shard.find_claim(&ada.login_name), shard.find_claim(&ada.login_name));
    for found in [first, second] {
        assert_eq!(found.expect("an answer").expect("a claim").claim, ada);
    }
    assert_eq!(shard.batching(), None);
}

#[tokio::test]
async fn a_corrupt_row_fails_only_its_own_lookups() {
    let server = Postgres::start();
    let shard = opened(&server, LIMITS).await;
    let users = inserted(&shard, 3).await;
    let damage = format!("UPDATE users SET permissions = '3' WHERE user_id = '{}'", users[1].user_id);
    server.psql("shard", &damage).expect("the statement runs");
    let [first, damaged, third] = [0, 1, 2].map(|index| shard.find_user(users[index].user_id));
    let (first, damaged, third) = tokio::join!(first, damaged, third);
    assert!(matches!(damaged, Err(StoreError::Corrupt { what: "user", .. })), "{damaged:?}");
    assert_eq!(
        [first.expect("an answer"), third.expect("an answer")],
        [Some(users[0].clone()), Some(users[2].clone())]
    );
    assert_eq!(shard.batching().expect("batches").users.batches, 1);
}

#[tokio::test]
async fn a_query_error_fails_only_the_lookup_that_caused_it() {
    let server = Postgres::start();
    let shard = opened(&server, LIMITS).await;
    let (ada, bad, eve) =
        (claimed(&shard, EPOCH, "ada").await, claimed(&shard, EPOCH, "bad").await, claimed(&shard, EPOCH, "eve").await);
    let view = "ALTER TABLE login_names RENAME TO kept; CREATE VIEW login_names AS SELECT login_name, user_id, claim_id, \
                claimed_at + interval '1s' / CASE login_name WHEN 'bad' THEN 0 ELSE 1 END AS claimed_at, confirmed, state \
                FROM kept";
    server.psql("shard", view).expect("the statements run");
    let [first, refused, third] = [&ada, &bad, &eve].map(|claim| shard.find_claim(&claim.login_name));
    let (first, refused, third) = tokio::join!(first, refused, third);
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    for (found, claim) in [(first, ada), (third, eve)] {
        assert_eq!(found.expect("an answer").expect("a claim").claim, claim);
    }
}

#[tokio::test]
async fn a_lookup_sees_writes_acknowledged_before_it() {
    let server = Postgres::start();
    let shard =
        opened(&server, ShardLimits { batches: BatchLimits { max_in_flight: 2, max_keys: 64 }, ..LIMITS }).await;
    let user = inserted(&shard, 1).await.remove(0);
    let reading = std::sync::atomic::AtomicI64::new(user.version);
    let writer = async {
        for version in user.version + 1..user.version + 60 {
            assert!(shard.update_user(&User { version, ..user.clone() }, version - 1).await.expect("an answer"));
            reading.store(version, std::sync::atomic::Ordering::SeqCst);
        }
    };
    let reader = async || {
        loop {
            let acknowledged = reading.load(std::sync::atomic::Ordering::SeqCst);
            let found = shard.find_user(user.user_id).await.expect("an answer").expect("a user");
            assert!(found.version >= acknowledged, "{} after {acknowledged} was acknowledged", found.version);
            if acknowledged == user.version + 59 {
                break;
            }
        }
    };
    tokio::join!(writer, futures_util::future::join_all((0..8).map(|_| reader())));
}
