//! The suite of shard stores, and tests of each implementation.

use std::time::Duration;

use symbolon::{
    clock::Timestamp,
    model::{Permissions, Preferences, User, UserId},
    shards::{
        Claim, ShardStore,
        postgres::{PgShard, ShardLimits},
        sqlite::SqliteShard,
    },
    store_error::StoreError,
};
use symbolon_batcher::BatchLimits;
use uuid::Uuid;

use crate::support::{
    rows::{hash, login_name, user},
    servers::postgres::Postgres,
    temporary_directory, until,
};

const EPOCH: i64 = 7;
const TIMEOUT: Duration = Duration::from_secs(30);
const LIMITS: ShardLimits =
    ShardLimits { connections: 8, timeout: TIMEOUT, batches: BatchLimits { max_in_flight: 2, max_keys: 64 } };

/// Makes a test of each function for each implementation, on a database of its own.
macro_rules! suite {
    ($($name:ident)*) => {
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                let server = super::Postgres::start();
                let options = server.database("shard").parse().expect("a URL");
                let shard = super::PgShard::new("shard", options, super::LIMITS);
                shard.prepare(super::EPOCH).await.expect("a shard");
                super::$name(&shard).await;
            })*
        }

        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                let directory = super::temporary_directory();
                let path = directory.path().join("shard.sqlite");
                let shard = super::SqliteShard::open("shard", &path, super::EPOCH).await.expect("a shard");
                super::$name(&shard).await;
            })*
        }
    };
}

suite! {
    an_inserted_user_is_found_unchanged
    a_user_id_is_inserted_once
    an_insert_at_another_epoch_changes_nothing
    an_update_needs_the_stored_version
    a_deletion_needs_the_stored_version
    a_void_row_blocks_its_id_and_is_never_found
    a_raised_version_stops_an_update_of_the_former_one
    a_hash_is_replaced_only_if_unchanged
    a_name_is_claimed_once
    confirming_and_releasing_need_the_claim_id
    a_replaced_claim_accepts_only_the_new_claim_id
    one_of_several_concurrent_claims_succeeds
    a_bulk_insert_skips_existing_users
    a_bulk_insert_at_another_epoch_changes_nothing
    a_bulk_claim_skips_claimed_names
    concurrent_bulk_claims_claim_each_name_once
    users_are_listed_by_id
}

fn claim(user_id: UserId) -> Claim {
    Claim { login_name: login_name("ada"), user_id, claim_id: Uuid::new_v4() }
}

async fn an_inserted_user_is_found_unchanged(shard: &dyn ShardStore) {
    let user = user().await;
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), None);
    assert!(shard.insert_user(EPOCH, &user).await.expect("an answer"));
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), Some(user));
}

async fn a_user_id_is_inserted_once(shard: &dyn ShardStore) {
    let user = user().await;
    assert!(shard.insert_user(EPOCH, &user).await.expect("an answer"));
    let other = User { suspended: false, ..user.clone() };
    assert!(!shard.insert_user(EPOCH, &other).await.expect("an answer"));
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), Some(user));
}

async fn an_insert_at_another_epoch_changes_nothing(shard: &dyn ShardStore) {
    let user = user().await;
    let refused = |result: Result<bool, StoreError>| matches!(result, Err(StoreError::StaleEpoch { epoch, .. }) if epoch != EPOCH);
    assert!(refused(shard.insert_user(EPOCH + 1, &user).await));
    assert!(refused(shard.insert_user(EPOCH - 1, &user).await));
    assert!(refused(shard.void_user(EPOCH + 1, user.user_id).await));
    assert!(refused(shard.claim_name(EPOCH + 1, &claim(user.user_id)).await));
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), None);
    assert_eq!(shard.find_claim(&login_name("ada")).await.expect("an answer"), None);
}

async fn an_update_needs_the_stored_version(shard: &dyn ShardStore) {
    let user = user().await;
    shard.insert_user(EPOCH, &user).await.expect("an answer");
    let changed = User {
        login_name: login_name("eve"),
        preferences: Preferences::default(),
        permissions: Permissions::default(),
        suspended: false,
        reset: None,
        version: 1_700_000_000_000,
        updated_at: Timestamp::now(),
        ..user.clone()
    };
    for wrong in [0, 2, changed.version - 1, changed.version] {
        assert!(!shard.update_user(&changed, wrong).await.expect("an answer"), "{wrong}");
    }
    assert!(shard.update_user(&changed, 1).await.expect("an answer"));
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), Some(changed.clone()));
    assert!(!shard.update_user(&changed, 1).await.expect("an answer"));
}

async fn a_deletion_needs_the_stored_version(shard: &dyn ShardStore) {
    let user = user().await;
    shard.insert_user(EPOCH, &user).await.expect("an answer");
    assert!(!shard.delete_user(user.user_id, 2).await.expect("an answer"));
    assert!(shard.delete_user(user.user_id, 1).await.expect("an answer"));
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), None);
    assert!(!shard.delete_user(user.user_id, 1).await.expect("an answer"));
}

async fn a_void_row_blocks_its_id_and_is_never_found(shard: &dyn ShardStore) {
    let user = user().await;
    assert!(shard.void_user(EPOCH, user.user_id).await.expect("an answer"));
    assert!(!shard.void_user(EPOCH, user.user_id).await.expect("an answer"));
    assert!(!shard.insert_user(EPOCH, &user).await.expect("an answer"));
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), None);
    assert!(!shard.raise_version(user.user_id, 0, 1).await.expect("an answer"));
    assert!(!shard.delete_user(user.user_id, 0).await.expect("an answer"));
}

async fn a_raised_version_stops_an_update_of_the_former_one(shard: &dyn ShardStore) {
    let user = user().await;
    shard.insert_user(EPOCH, &user).await.expect("an answer");
    let (under_way, raised) = (User { version: 2, ..user.clone() }, 1_700_000_000_000);
    assert!(!shard.raise_version(user.user_id, 2, raised).await.expect("an answer"));
    assert!(shard.raise_version(user.user_id, 1, raised).await.expect("an answer"));
    assert!(!shard.update_user(&under_way, 1).await.expect("an answer"));
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), Some(User { version: raised, ..user }));
}

async fn a_hash_is_replaced_only_if_unchanged(shard: &dyn ShardStore) {
    let user = user().await;
    shard.insert_user(EPOCH, &user).await.expect("an answer");
    let (new, other) = (hash("new").await, hash("other").await);
    assert!(!shard.rehash(user.user_id, &other, &new).await.expect("an answer"));
    assert!(shard.rehash(user.user_id, &user.password_hash, &new).await.expect("an answer"));
    let found = shard.find_user(user.user_id).await.expect("an answer").expect("the user");
    assert_eq!((found.password_hash, found.version), (new, 1));
}

async fn a_name_is_claimed_once(shard: &dyn ShardStore) {
    let (first, second) = (claim(UserId::generate()), claim(UserId::generate()));
    assert!(shard.claim_name(EPOCH, &first).await.expect("an answer"));
    assert!(!shard.claim_name(EPOCH, &second).await.expect("an answer"));
    let stored = shard.find_claim(&login_name("ada")).await.expect("an answer").expect("a claim");
    assert_eq!((stored.claim, stored.confirmed), (first, false));
    assert!(stored.read_at.since(stored.claimed_at) < Duration::from_secs(60));
}

async fn confirming_and_releasing_need_the_claim_id(shard: &dyn ShardStore) {
    let first = claim(UserId::generate());
    let other = Claim { claim_id: Uuid::new_v4(), ..first.clone() };
    shard.claim_name(EPOCH, &first).await.expect("an answer");
    assert!(!shard.confirm_claim(&other).await.expect("an answer"));
    assert!(!shard.release_claim(&other).await.expect("an answer"));
    assert!(shard.confirm_claim(&first).await.expect("an answer"));
    assert!(shard.find_claim(&login_name("ada")).await.expect("an answer").expect("a claim").confirmed);
    assert!(shard.release_claim(&first).await.expect("an answer"));
    assert_eq!(shard.find_claim(&login_name("ada")).await.expect("an answer"), None);
}

async fn a_replaced_claim_accepts_only_the_new_claim_id(shard: &dyn ShardStore) {
    let (first, second) = (claim(UserId::generate()), claim(UserId::generate()));
    shard.claim_name(EPOCH, &first).await.expect("an answer");
    shard.confirm_claim(&first).await.expect("an answer");
    assert!(!shard.replace_claim(second.claim_id, &second).await.expect("an answer"));
    assert!(shard.replace_claim(first.claim_id, &second).await.expect("an answer"));
    let stored = shard.find_claim(&login_name("ada")).await.expect("an answer").expect("a claim");
    assert_eq!((&stored.claim, stored.confirmed), (&second, false));
    assert!(!shard.confirm_claim(&first).await.expect("an answer"));
    assert!(!shard.release_claim(&first).await.expect("an answer"));
    assert!(!shard.replace_claim(first.claim_id, &first).await.expect("an answer"));
}

async fn one_of_several_concurrent_claims_succeeds(shard: &dyn ShardStore) {
    let claims: Vec<Claim> = (0..20).map(|_| claim(UserId::generate())).collect();
    let races = claims.iter().map(|claim| shard.claim_name(EPOCH, claim));
    let won = futures_util::future::join_all(races).await.into_iter().filter(|won| *won.as_ref().expect("an answer"));
    assert_eq!(won.count(), 1);
}

async fn a_bulk_insert_skips_existing_users(shard: &dyn ShardStore) {
    let mut users = Vec::new();
    for number in 0..5 {
        users.push(User { login_name: login_name(&format!("user-{number}")), ..user().await });
    }
    users[4].profile.name = "tab\t, line\nand \\N".to_owned();
    users[4].reset = None;
    users[4].idempotency_hash = None;
    shard.insert_user(EPOCH, &users[1]).await.expect("an answer");
    shard.void_user(EPOCH, users[3].user_id).await.expect("an answer");
    let mut there = shard.insert_users(EPOCH, &users).await.expect("an answer");
    there.sort();
    assert_eq!(there, [users[1].user_id, users[3].user_id]);
    let ids: Vec<UserId> = users.iter().map(|user| user.user_id).collect();
    let mut found = shard.find_users(&ids).await.expect("an answer");
    found.sort_by_key(|user| user.user_id);
    users.remove(3);
    assert_eq!(found, users);
}

async fn a_bulk_insert_at_another_epoch_changes_nothing(shard: &dyn ShardStore) {
    let user = user().await;
    let inserted = shard.insert_users(EPOCH + 1, std::slice::from_ref(&user)).await;
    assert!(matches!(inserted, Err(StoreError::StaleEpoch { .. })), "{inserted:?}");
    assert_eq!(shard.find_users(&[user.user_id]).await.expect("an answer"), []);
}

async fn a_bulk_claim_skips_claimed_names(shard: &dyn ShardStore) {
    let named = |text: &str| Claim { login_name: login_name(text), ..claim(UserId::generate()) };
    let first = named("ada");
    shard.claim_name(EPOCH, &first).await.expect("an answer");
    let wanted = [named("eve"), named("ada"), named("zoë")];
    let held = shard.claim_names(EPOCH, &wanted).await.expect("an answer");
    assert_eq!(held.into_iter().map(|stored| stored.claim).collect::<Vec<_>>(), [first]);
    for claim in [&wanted[0], &wanted[2]] {
        let stored = shard.find_claim(&claim.login_name).await.expect("an answer").expect("a claim");
        assert_eq!((&stored.claim, stored.confirmed), (claim, false));
        assert!(stored.read_at.since(stored.claimed_at) < Duration::from_secs(60));
    }
}

async fn concurrent_bulk_claims_claim_each_name_once(shard: &dyn ShardStore) {
    let named = |number: usize| Claim { login_name: login_name(&format!("u{number}")), ..claim(UserId::generate()) };
    let batches: Vec<Vec<Claim>> = (0..6).map(|start| (start * 10..start * 10 + 40).map(named).collect()).collect();
    let races = futures_util::future::join_all(batches.iter().map(|batch| shard.claim_names(EPOCH, batch))).await;
    let held: usize = races.iter().map(|held| held.as_ref().expect("an answer").len()).sum();
    assert_eq!(batches.len() * 40 - held, 90, "not each of the 90 names is claimed once");
}

async fn users_are_listed_by_id(shard: &dyn ShardStore) {
    let mut users = Vec::new();
    for number in 0..5 {
        users.push(User { login_name: login_name(&format!("user-{number}")), ..user().await });
    }
    shard.insert_users(EPOCH, &users).await.expect("an answer");
    shard.void_user(EPOCH, UserId::generate()).await.expect("an answer");
    assert_eq!(shard.list_users(None, 2).await.expect("an answer"), users[..2]);
    assert_eq!(shard.list_users(Some(users[1].user_id), 9).await.expect("an answer"), users[2..]);
}

#[tokio::test]
async fn the_file_of_another_shard_is_refused() {
    let directory = temporary_directory();
    let path = directory.path().join("shard.sqlite");
    SqliteShard::open("db-node-0", &path, EPOCH).await.expect("a shard").close().await;
    let error = SqliteShard::open("db-node-1", &path, EPOCH).await.expect_err("a refusal").to_string();
    assert_eq!(
        error,
        "the database file of shard db-node-1 contains shard db-node-0; check the files in the data directory"
    );
}

#[tokio::test]
async fn an_insert_that_waits_while_the_epoch_rises_fails() {
    fail_an_insert_that_waits(&Postgres::start()).await;
}

#[tokio::test]
async fn an_insert_that_waits_while_the_epoch_rises_fails_at_any_default_isolation() {
    let server = Postgres::start();
    for level in ["repeatable read", "serializable"] {
        let default = format!("ALTER ROLE postgres SET default_transaction_isolation = '{level}'");
        server.psql("postgres", &default).expect("a setting");
        fail_an_insert_that_waits(&server).await;
        server.psql("postgres", "DROP DATABASE shard WITH (FORCE)").expect("no database");
    }
}

#[tokio::test]
async fn the_epoch_fence_refuses_isolation_levels_with_an_older_snapshot() {
    let server = Postgres::start();
    let url = server.database("shard");
    let shard = PgShard::new("shard", url.parse().expect("a URL"), LIMITS);
    shard.prepare(EPOCH).await.expect("a shard");
    let pass =
        |level: &str| server.psql("shard", &format!("BEGIN ISOLATION LEVEL {level}; SELECT symbolon_fence({EPOCH})"));
    assert_eq!(pass("read committed").as_deref(), Ok("t"));
    for level in ["repeatable read", "serializable"] {
        let refusal = pass(level).expect_err("a refusal");
        assert!(refusal.contains(&format!("needs isolation level read committed, not {level}")), "{refusal}");
    }
}

async fn fail_an_insert_that_waits(server: &Postgres) {
    let url = server.database("shard");
    let shard = PgShard::new("shard", url.parse().expect("a URL"), LIMITS);
    shard.prepare(EPOCH).await.expect("a shard");
    let user = user().await;
    let coordinator = sqlx::PgPool::connect(&url).await.expect("a connection");
    let mut raise = coordinator.begin().await.expect("a transaction");
    for statement in ["SELECT pg_advisory_xact_lock(6005235)", "UPDATE shard SET epoch = epoch + 1"] {
        sqlx::query(statement).execute(&mut *raise).await.expect("the statement runs");
    }
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'symbolon' AND wait_event = 'advisory'";
    let waits = async || sqlx::query_scalar::<_, i64>(waiting).fetch_one(&coordinator).await.expect("a count") > 0;
    let commit = async {
        until("the insert waits", waits).await;
        raise.commit().await.expect("the epoch rises");
    };
    let (inserted, ()) = tokio::join!(shard.insert_user(EPOCH, &user), commit);
    assert!(matches!(inserted, Err(StoreError::StaleEpoch { .. })), "{inserted:?}");
    assert!(shard.insert_user(EPOCH + 1, &user).await.expect("an answer"));
}
