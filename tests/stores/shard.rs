use std::time::Duration;

use serde_json::json;
use symbolon::{
    clock::Timestamp,
    model::{LoginName, PasswordHash, PasswordReset, Permissions, Preferences, Profile, User, UserId},
    passwords::{PasswordPolicy, Passwords},
    shards::{
        Claim, ShardStore,
        postgres::{PgShard, ShardLimits},
        sqlite::SqliteShard,
    },
    store_error::StoreError,
};
use symbolon_batcher::BatchLimits;
use uuid::Uuid;

use crate::servers::postgres::Postgres;

const EPOCH: i64 = 7;
const TIMEOUT: Duration = Duration::from_secs(30);
const LIMITS: ShardLimits =
    ShardLimits { connections: 8, timeout: TIMEOUT, batches: BatchLimits { max_in_flight: 2, max_keys: 64 } };

/// Runs each function of the suite against a shard of each kind, each on a database of its own.
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
                let directory = tempfile::tempdir().expect("a temporary directory");
                let path = directory.path().join("shard.sqlite");
                let shard = super::SqliteShard::open("shard", &path, super::EPOCH).await.expect("a shard");
                super::$name(&shard).await;
            })*
        }
    };
}

suite! {
    a_user_is_found_as_it_was_inserted
    an_id_is_inserted_once
    an_insert_that_names_another_epoch_changes_nothing
    an_update_needs_the_version_that_it_expects
    a_deletion_needs_the_version
    a_void_row_keeps_an_id_from_use_and_is_never_found
    a_raised_version_stops_an_update_under_way
    a_hash_is_replaced_only_where_it_is_the_old_one
    a_name_is_claimed_once
    confirm_and_release_name_the_claim
    a_replaced_claim_belongs_to_the_new_one_only
    of_racing_claims_one_succeeds
    many_users_are_inserted_but_for_those_that_are_there
    many_users_at_another_epoch_are_not_inserted
    many_names_are_claimed_but_for_those_that_are_claimed
    of_racing_claims_on_many_names_each_name_has_one
    users_are_listed_in_the_order_of_their_ids
}

async fn hash(password: &str) -> PasswordHash {
    let policy = PasswordPolicy { memory_kib: 8, passes: 1, lanes: 1, threads: 1, deadline: Duration::from_secs(60) };
    let passwords = Passwords::start(&policy).expect("valid parameters");
    let place = passwords.place(None, symbolon::passwords::HashKind::New).expect("a place");
    passwords.hash(place, &password.to_owned().into()).await.expect("a hash")
}

fn name(text: &str) -> LoginName {
    LoginName::parse(text).expect("a login name")
}

pub(super) async fn user() -> User {
    let preferences = json!({"a": [1, "é\n\"", null, {}], "n": u64::MAX});
    User {
        user_id: UserId::generate(),
        login_name: name("ada"),
        password_hash: hash("correct horse").await,
        profile: Profile { name: "Ada".into(), email: "ada@example.com".into() },
        preferences: preferences.as_object().expect("an object").into(),
        permissions: Permissions { read: true, write: false, admin: true },
        suspended: true,
        idempotency_hash: Some([7; 32]),
        reset: Some(PasswordReset { digest: [9; 32], expires_at: Timestamp::from_millis(1_700_000_000_123) }),
        version: 1,
        created_at: Timestamp::from_millis(1_600_000_000_001),
        updated_at: Timestamp::from_millis(1_600_000_000_002),
    }
}

fn claim(user_id: UserId) -> Claim {
    Claim { login_name: name("ada"), user_id, claim_id: Uuid::new_v4() }
}

async fn a_user_is_found_as_it_was_inserted(shard: &dyn ShardStore) {
    let user = user().await;
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), None);
    assert!(shard.insert_user(EPOCH, &user).await.expect("an answer"));
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), Some(user));
}

async fn an_id_is_inserted_once(shard: &dyn ShardStore) {
    let user = user().await;
    assert!(shard.insert_user(EPOCH, &user).await.expect("an answer"));
    let other = User { suspended: false, ..user.clone() };
    assert!(!shard.insert_user(EPOCH, &other).await.expect("an answer"));
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), Some(user));
}

async fn an_insert_that_names_another_epoch_changes_nothing(shard: &dyn ShardStore) {
    let user = user().await;
    let refused = |result: Result<bool, StoreError>| matches!(result, Err(StoreError::StaleEpoch { epoch, .. }) if epoch != EPOCH);
    assert!(refused(shard.insert_user(EPOCH + 1, &user).await));
    assert!(refused(shard.insert_user(EPOCH - 1, &user).await));
    assert!(refused(shard.void_user(EPOCH + 1, user.user_id).await));
    assert!(refused(shard.claim_name(EPOCH + 1, &claim(user.user_id)).await));
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), None);
    assert_eq!(shard.find_claim(&name("ada")).await.expect("an answer"), None);
}

async fn an_update_needs_the_version_that_it_expects(shard: &dyn ShardStore) {
    let user = user().await;
    shard.insert_user(EPOCH, &user).await.expect("an answer");
    let changed = User {
        login_name: name("eve"),
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

async fn a_deletion_needs_the_version(shard: &dyn ShardStore) {
    let user = user().await;
    shard.insert_user(EPOCH, &user).await.expect("an answer");
    assert!(!shard.delete_user(user.user_id, 2).await.expect("an answer"));
    assert!(shard.delete_user(user.user_id, 1).await.expect("an answer"));
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), None);
    assert!(!shard.delete_user(user.user_id, 1).await.expect("an answer"));
}

async fn a_void_row_keeps_an_id_from_use_and_is_never_found(shard: &dyn ShardStore) {
    let user = user().await;
    assert!(shard.void_user(EPOCH, user.user_id).await.expect("an answer"));
    assert!(!shard.void_user(EPOCH, user.user_id).await.expect("an answer"));
    assert!(!shard.insert_user(EPOCH, &user).await.expect("an answer"));
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), None);
    assert!(!shard.raise_version(user.user_id, 0, 1).await.expect("an answer"));
    assert!(!shard.delete_user(user.user_id, 0).await.expect("an answer"));
}

async fn a_raised_version_stops_an_update_under_way(shard: &dyn ShardStore) {
    let user = user().await;
    shard.insert_user(EPOCH, &user).await.expect("an answer");
    let (under_way, raised) = (User { version: 2, ..user.clone() }, 1_700_000_000_000);
    assert!(!shard.raise_version(user.user_id, 2, raised).await.expect("an answer"));
    assert!(shard.raise_version(user.user_id, 1, raised).await.expect("an answer"));
    assert!(!shard.update_user(&under_way, 1).await.expect("an answer"));
    assert_eq!(shard.find_user(user.user_id).await.expect("an answer"), Some(User { version: raised, ..user }));
}

async fn a_hash_is_replaced_only_where_it_is_the_old_one(shard: &dyn ShardStore) {
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
    let stored = shard.find_claim(&name("ada")).await.expect("an answer").expect("a claim");
    assert_eq!((stored.claim, stored.confirmed), (first, false));
    assert!(stored.read_at.since(stored.claimed_at) < Duration::from_secs(60));
}

async fn confirm_and_release_name_the_claim(shard: &dyn ShardStore) {
    let first = claim(UserId::generate());
    let other = Claim { claim_id: Uuid::new_v4(), ..first.clone() };
    shard.claim_name(EPOCH, &first).await.expect("an answer");
    assert!(!shard.confirm_claim(&other).await.expect("an answer"));
    assert!(!shard.release_claim(&other).await.expect("an answer"));
    assert!(shard.confirm_claim(&first).await.expect("an answer"));
    assert!(shard.find_claim(&name("ada")).await.expect("an answer").expect("a claim").confirmed);
    assert!(shard.release_claim(&first).await.expect("an answer"));
    assert_eq!(shard.find_claim(&name("ada")).await.expect("an answer"), None);
}

async fn a_replaced_claim_belongs_to_the_new_one_only(shard: &dyn ShardStore) {
    let (first, second) = (claim(UserId::generate()), claim(UserId::generate()));
    shard.claim_name(EPOCH, &first).await.expect("an answer");
    shard.confirm_claim(&first).await.expect("an answer");
    assert!(!shard.replace_claim(second.claim_id, &second).await.expect("an answer"));
    assert!(shard.replace_claim(first.claim_id, &second).await.expect("an answer"));
    let stored = shard.find_claim(&name("ada")).await.expect("an answer").expect("a claim");
    assert_eq!((&stored.claim, stored.confirmed), (&second, false));
    assert!(!shard.confirm_claim(&first).await.expect("an answer"));
    assert!(!shard.release_claim(&first).await.expect("an answer"));
    assert!(!shard.replace_claim(first.claim_id, &first).await.expect("an answer"));
}

async fn of_racing_claims_one_succeeds(shard: &dyn ShardStore) {
    let claims: Vec<Claim> = (0..20).map(|_| claim(UserId::generate())).collect();
    let races = claims.iter().map(|claim| shard.claim_name(EPOCH, claim));
    let won = futures_util::future::join_all(races).await.into_iter().filter(|won| *won.as_ref().expect("an answer"));
    assert_eq!(won.count(), 1);
}

async fn many_users_are_inserted_but_for_those_that_are_there(shard: &dyn ShardStore) {
    let mut users = Vec::new();
    for number in 0..5 {
        users.push(User { login_name: name(&format!("user-{number}")), ..user().await });
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

async fn many_users_at_another_epoch_are_not_inserted(shard: &dyn ShardStore) {
    let user = user().await;
    let inserted = shard.insert_users(EPOCH + 1, std::slice::from_ref(&user)).await;
    assert!(matches!(inserted, Err(StoreError::StaleEpoch { .. })), "{inserted:?}");
    assert_eq!(shard.find_users(&[user.user_id]).await.expect("an answer"), []);
}

async fn many_names_are_claimed_but_for_those_that_are_claimed(shard: &dyn ShardStore) {
    let named = |text: &str| Claim { login_name: name(text), ..claim(UserId::generate()) };
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

async fn of_racing_claims_on_many_names_each_name_has_one(shard: &dyn ShardStore) {
    let named = |number: usize| Claim { login_name: name(&format!("u{number}")), ..claim(UserId::generate()) };
    let batches: Vec<Vec<Claim>> = (0..6).map(|start| (start * 10..start * 10 + 40).map(named).collect()).collect();
    let races = futures_util::future::join_all(batches.iter().map(|batch| shard.claim_names(EPOCH, batch))).await;
    let held: usize = races.iter().map(|held| held.as_ref().expect("an answer").len()).sum();
    assert_eq!(batches.len() * 40 - held, 90, "each of 90 names is claimed once");
}

async fn users_are_listed_in_the_order_of_their_ids(shard: &dyn ShardStore) {
    let mut users = Vec::new();
    for number in 0..5 {
        users.push(User { login_name: name(&format!("user-{number}")), ..user().await });
    }
    shard.insert_users(EPOCH, &users).await.expect("an answer");
    shard.void_user(EPOCH, UserId::generate()).await.expect("an answer");
    assert_eq!(shard.list_users(None, 2).await.expect("an answer"), users[..2]);
    assert_eq!(shard.list_users(Some(users[1].user_id), 9).await.expect("an answer"), users[2..]);
}

#[tokio::test]
async fn a_file_of_another_shard_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("shard.sqlite");
    SqliteShard::open("db-node-0", &path, EPOCH).await.expect("a shard").close().await;
    let error = SqliteShard::open("db-node-1", &path, EPOCH).await.expect_err("a refusal").to_string();
    assert_eq!(error, "the file of shard db-node-1 holds shard db-node-0");
}

#[tokio::test]
async fn an_insert_that_waits_while_the_epoch_rises_fails() {
    fail_an_insert_that_waits(&Postgres::start()).await;
}

#[tokio::test]
async fn an_insert_that_waits_while_the_epoch_rises_fails_whatever_isolation_is_the_default() {
    let server = Postgres::start();
    for level in ["repeatable read", "serializable"] {
        let default = format!("ALTER ROLE postgres SET default_transaction_isolation = '{level}'");
        server.psql("postgres", &default).expect("a setting");
        fail_an_insert_that_waits(&server).await;
        server.psql("postgres", "DROP DATABASE shard WITH (FORCE)").expect("no database");
    }
}

#[tokio::test]
async fn the_fence_refuses_what_reads_an_older_snapshot() {
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
    let commit = async {
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&coordinator).await.expect("a count") == 0 {
            tokio::task::yield_now().await;
        }
        raise.commit().await.expect("the epoch rises");
    };
    let (inserted, ()) = tokio::join!(shard.insert_user(EPOCH, &user), commit);
    assert!(matches!(inserted, Err(StoreError::StaleEpoch { .. })), "{inserted:?}");
    assert!(shard.insert_user(EPOCH + 1, &user).await.expect("an answer"));
}
