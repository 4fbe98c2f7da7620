mod fleet;
mod revocation;

use std::time::Duration;

use serde_json::json;
use symbolon::{
    clock::Timestamp,
    model::{Client, Generation, Permissions, StoredSession, Token, UserId, UserSnapshot},
    shared_store::{Bucket, Charge, RevocationStep, SharedStore, redis::RedisSharedStore, sqlite::SqliteSharedStore},
};

use self::{fleet::*, revocation::*};
use crate::servers::redis::{Certificates, Redis, RedisCluster, RedisPair};

/// Runs each function of the suite against a store of each kind, each on servers of its own.
macro_rules! suite {
    ($($name:ident)*) => {
        sqlite_suite! { sqlite $($name)* }
        redis_suite! { redis (Redis::start()) 0 $($name)* }
        redis_suite! { redis_with_tls (Redis::with_certificates(Certificates::for_names(&["127.0.0.1"]))) 0 $($name)* }
        redis_suite! { redis_with_a_replica (RedisPair::start()) 1 $($name)* }
        redis_suite! { redis_cluster (RedisCluster::start()) 0 $($name)* }
    };
}

macro_rules! sqlite_suite {
    ($module:ident $($name:ident)*) => {
        mod $module {
            $(#[tokio::test]
            async fn $name() {
                let directory = tempfile::tempdir().expect("a temporary directory");
                let path = directory.path().join("shared.sqlite");
                let store = super::SqliteSharedStore::open(&path).await.expect("a store");
                super::$name(&store).await;
            })*
        }
    };
}

macro_rules! redis_suite {
    ($module:ident ($start:expr) $replicas:literal $($name:ident)*) => {
        mod $module {
            use super::*;

            $(#[tokio::test]
            async fn $name() {
                let server = $start;
                let (url, ca) = (server.url(), server.ca());
                let store = super::RedisSharedStore::connect(&url, ca.as_deref(), $replicas, crate::servers::redis::BATCHES).expect("a URL");
                assert!(store.answers_within(crate::servers::DEADLINE).await, "Redis answers");
                super::$name(&store).await;
            })*
        }
    };
}

suite! {
    a_session_is_used_as_it_was_created
    of_sessions_used_at_once_each_shows_its_own_user
    a_first_generation_is_not_made_twice
    a_raised_generation_ends_every_session_and_every_login_under_way
    a_generation_raised_before_the_first_login_stops_it_too
    a_kept_session_survives_a_raised_generation_only_if_it_was_alive
    using_a_session_slides_its_idle_expiry_up_to_its_absolute_one
    an_ended_session_is_gone_and_was_there_once
    beyond_the_limit_the_oldest_sessions_give_way
    a_snapshot_is_repaired_only_where_there_is_an_older_one
    a_snapshot_is_replaced_by_a_higher_version_only
    a_snapshot_put_before_the_first_login_stops_a_login_under_way
    a_forgotten_user_leaves_nothing_and_cannot_come_back
    a_revocation_is_pending_until_its_second_step
    a_second_step_leaves_other_revocations_pending
    a_revocation_that_expired_is_told_from_a_pending_one
    a_revocation_from_before_the_clock_went_back_expires_at_once
    a_session_is_kept_through_both_steps
    forgetting_a_user_ends_its_own_revocation_only
    totals_follow_creation_and_ending
    buckets_take_their_burst_and_refill
    a_refused_charge_charges_nothing
    a_bucket_that_is_full_too_late_is_taken_for_an_empty_one
    a_refund_makes_room_but_no_more_than_there_was
    several_charges_are_made_and_refunded_as_one
    parallel_charges_do_not_slip_past_the_limit
    instances_are_there_while_they_are_heard_of
    a_lock_has_one_holder_and_a_rising_fence
    a_lock_that_ends_too_late_is_shortened_to_a_lease
    a_note_is_replaced_unless_it_was_written_under_a_later_fence
    operators_choose_an_algorithm_or_leave_it_to_the_setting
    an_added_node_is_there_until_it_is_removed
    an_instance_is_out_until_it_is_let_in_again
}

// Redis removes what has expired by itself.
sqlite_suite! {
    sqlite_reaping
    totals_follow_creation_ending_and_reaping
    reaping_leaves_what_is_alive
    a_forgotten_user_that_is_there_again_has_sessions
    a_forgotten_user_is_reaped_in_time
}

const IDLE: Duration = Duration::from_secs(3600);
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);
const LIMIT: u32 = 100;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
}

/// Until when to keep a generation: Redis counts by its own clock.
fn later() -> Timestamp {
    Timestamp::now() + Duration::from_secs(60)
}

fn session(user_id: UserId, created_at: Timestamp) -> StoredSession {
    let digest = Token::for_session(user_id).digest();
    StoredSession {
        session_id: digest.session_id(),
        user_id,
        digest,
        created_at,
        idle_expires_at: created_at + IDLE,
        expires_at: created_at + LIFETIME,
        client: Client { address: Some("192.0.2.1".into()), user_agent: Some("é/1".into()) },
    }
}

fn snapshot(version: i64) -> UserSnapshot {
    UserSnapshot {
        version,
        login_name: "ada".into(),
        permissions: Permissions::default(),
        preferences: json!({"version": version, "empty": []}).as_object().expect("an object").into(),
    }
}

async fn generation(store: &dyn SharedStore, user_id: UserId) -> Option<Generation> {
    store.begin_login(user_id).await.expect("an answer").generation
}

/// Creates a session under the current generation.
async fn create(store: &dyn SharedStore, user_id: UserId, created_at: Timestamp) -> StoredSession {
    let session = session(user_id, created_at);
    let generation = generation(store, user_id).await;
    assert!(store.create_session(&session, generation, &snapshot(1), LIMIT).await.expect("an answer"));
    session
}

async fn is_alive(store: &dyn SharedStore, session: &StoredSession, now: Timestamp) -> bool {
    store.use_session(session.user_id, session.session_id, IDLE, now).await.expect("an answer").is_some()
}

async fn a_session_is_used_as_it_was_created(store: &dyn SharedStore) {
    let session = create(store, UserId::generate(), at(0)).await;
    let used = store.use_session(session.user_id, session.session_id, IDLE, at(0)).await.expect("an answer");
    assert_eq!(used, Some((session.clone(), snapshot(1))));
    assert!(store.use_session(UserId::generate(), session.session_id, IDLE, at(1)).await.expect("an answer").is_none());
    assert_eq!(store.list_sessions(session.user_id, at(1)).await.expect("an answer"), [session]);
}

async fn of_sessions_used_at_once_each_shows_its_own_user(store: &dyn SharedStore) {
    let mut sessions = Vec::new();
    for user in 0..10 {
        let user_id = UserId::generate();
        for second in 0..4 {
            sessions.push((create(store, user_id, at(second)).await, snapshot(user + 1)));
        }
        store.put_snapshot(user_id, &snapshot(user + 1), later()).await.expect("an answer");
    }
    for (session, _) in sessions.iter().step_by(3) {
        assert!(store.end_session(session.user_id, session.session_id).await.expect("an answer"));
    }
    let twice: Vec<_> = (0..2 * sessions.len()).map(|index| index % sessions.len()).collect();
    let uses = twice.iter().map(|&index| {
        let (session, _) = &sessions[index];
        store.use_session(session.user_id, session.session_id, IDLE, at(5))
    });
    let used = futures_util::future::join_all(uses).await;
    for (index, used) in twice.into_iter().zip(used) {
        let used = used.expect("an answer").map(|(session, shown)| (session.session_id, session.user_id, shown));
        let (session, shown) = &sessions[index];
        let own = (session.session_id, session.user_id, shown.clone());
        assert_eq!(used, (index % 3 != 0).then_some(own), "the session with index {index}");
    }
}

async fn a_first_generation_is_not_made_twice(store: &dyn SharedStore) {
    let user_id = UserId::generate();
    assert_eq!(generation(store, user_id).await, None);
    let (first, second) = (session(user_id, at(0)), session(user_id, at(0)));
    assert!(store.create_session(&first, None, &snapshot(1), LIMIT).await.expect("an answer"));
    assert!(!store.create_session(&second, None, &snapshot(1), LIMIT).await.expect("an answer"));
    assert!(is_alive(store, &first, at(1)).await && !is_alive(store, &second, at(1)).await);
}

async fn a_raised_generation_ends_every_session_and_every_login_under_way(store: &dyn SharedStore) {
    let user_id = UserId::generate();
    let sessions = [create(store, user_id, at(0)).await, create(store, user_id, at(1)).await];
    let before = generation(store, user_id).await;
    store.raise_generation(user_id, None, RevocationStep::Only, later()).await.expect("an answer");
    for session in &sessions {
        assert!(!is_alive(store, session, at(2)).await);
    }
    assert_eq!(store.list_sessions(user_id, at(2)).await.expect("an answer"), []);
    assert!(!store.create_session(&session(user_id, at(2)), before, &snapshot(1), LIMIT).await.expect("an answer"));
    let later = create(store, user_id, at(3)).await;
    assert!(is_alive(store, &later, at(4)).await);
}

async fn a_generation_raised_before_the_first_login_stops_it_too(store: &dyn SharedStore) {
    let user_id = UserId::generate();
    let before = generation(store, user_id).await;
    store.raise_generation(user_id, None, RevocationStep::Only, later()).await.expect("an answer");
    assert!(!store.create_session(&session(user_id, at(2)), before, &snapshot(1), LIMIT).await.expect("an answer"));
}

async fn a_kept_session_survives_a_raised_generation_only_if_it_was_alive(store: &dyn SharedStore) {
    let user_id = UserId::generate();
    let (kept, other) = (create(store, user_id, at(0)).await, create(store, user_id, at(1)).await);
    store.raise_generation(user_id, Some(kept.session_id), RevocationStep::Only, later()).await.expect("an answer");
    assert!(is_alive(store, &kept, at(2)).await && !is_alive(store, &other, at(2)).await);
    store.raise_generation(user_id, Some(other.session_id), RevocationStep::Only, later()).await.expect("an answer");
    assert!(!is_alive(store, &kept, at(3)).await && !is_alive(store, &other, at(3)).await);
}

async fn using_a_session_slides_its_idle_expiry_up_to_its_absolute_one(store: &dyn SharedStore) {
    let session = create(store, UserId::generate(), at(0)).await;
    let expiry = async |now| {
        let used = store.use_session(session.user_id, session.session_id, IDLE, now).await.expect("an answer");
        used.map(|(session, _)| session.idle_expires_at)
    };
    assert_eq!(expiry(at(1800)).await, Some(at(1800 + 3600)));
    assert_eq!(expiry(at(5399)).await, Some(at(5399 + 3600)));
    assert_eq!(expiry(at(5399 + 3600)).await, None);
    let mut now = 0;
    let long = create(store, UserId::generate(), at(0)).await;
    let last = loop {
        now += 3000;
        let used = store.use_session(long.user_id, long.session_id, IDLE, at(now)).await.expect("an answer");
        match used {
            Some((used, _)) => assert!(used.idle_expires_at <= long.expires_at),
            None => break now,
        }
    };
    assert!(at(last) >= long.expires_at && at(last - 3000) < long.expires_at);
}

async fn an_ended_session_is_gone_and_was_there_once(store: &dyn SharedStore) {
    let session = create(store, UserId::generate(), at(0)).await;
    assert!(!store.end_session(UserId::generate(), session.session_id).await.expect("an answer"));
    assert!(store.end_session(session.user_id, session.session_id).await.expect("an answer"));
    assert!(!store.end_session(session.user_id, session.session_id).await.expect("an answer"));
    assert!(!is_alive(store, &session, at(1)).await);
}

async fn beyond_the_limit_the_oldest_sessions_give_way(store: &dyn SharedStore) {
    let user_id = UserId::generate();
    let mut sessions = Vec::new();
    for second in 0..5 {
        let session = session(user_id, at(second));
        let generation = generation(store, user_id).await;
        assert!(store.create_session(&session, generation, &snapshot(1), 3).await.expect("an answer"));
        sessions.push(session);
    }
    assert_eq!(store.list_sessions(user_id, at(9)).await.expect("an answer"), sessions[2..]);
}

async fn a_snapshot_is_replaced_by_a_higher_version_only(store: &dyn SharedStore) {
    let session = create(store, UserId::generate(), at(0)).await;
    let shown = async || {
        let used = store.use_session(session.user_id, session.session_id, IDLE, at(1)).await.expect("an answer");
        used.expect("a session").1
    };
    store.put_snapshot(session.user_id, &snapshot(3), later()).await.expect("an answer");
    assert_eq!(shown().await, snapshot(3));
    store.put_snapshot(session.user_id, &snapshot(2), later()).await.expect("an answer");
    assert_eq!(shown().await, snapshot(3));
    create(store, session.user_id, at(1)).await;
    assert_eq!(shown().await, snapshot(3));
}

async fn a_snapshot_is_repaired_only_where_there_is_an_older_one(store: &dyn SharedStore) {
    let session = create(store, UserId::generate(), at(0)).await;
    let replace =
        async |user_id, version| store.replace_snapshot(user_id, &snapshot(version)).await.expect("an answer");
    assert!(!replace(session.user_id, 1).await, "it is the same");
    assert!(replace(session.user_id, 3).await);
    assert!(!replace(session.user_id, 2).await, "it is older");
    let used = store.use_session(session.user_id, session.session_id, IDLE, at(1)).await.expect("an answer");
    assert_eq!(used.expect("a session").1, snapshot(3));
    store.forget_user(session.user_id, None, later()).await.expect("an answer");
    assert!(!replace(session.user_id, 9).await, "it is forgotten");

    let stranger = UserId::generate();
    assert!(!replace(stranger, 1).await);
    assert_eq!(generation(store, stranger).await, None, "none was made");
    store.raise_generation(stranger, None, RevocationStep::Only, later()).await.expect("an answer");
    assert!(!replace(stranger, 1).await, "it has a generation only");
}

async fn a_snapshot_put_before_the_first_login_stops_a_login_under_way(store: &dyn SharedStore) {
    let user_id = UserId::generate();
    let before = generation(store, user_id).await;
    store.put_snapshot(user_id, &snapshot(2), later()).await.expect("an answer");
    let late = session(user_id, at(1));
    assert!(!store.create_session(&late, before, &snapshot(1), LIMIT).await.expect("an answer"));
    let again = create(store, user_id, at(2)).await;
    let used = store.use_session(user_id, again.session_id, IDLE, at(3)).await.expect("an answer");
    assert_eq!(used.expect("a session").1, snapshot(2));
}

async fn a_forgotten_user_leaves_nothing_and_cannot_come_back(store: &dyn SharedStore) {
    let session = create(store, UserId::generate(), at(0)).await;
    let generation = generation(store, session.user_id).await;
    store.forget_user(session.user_id, None, later()).await.expect("an answer");
    assert!(!is_alive(store, &session, at(1)).await);
    assert_eq!(store.session_totals().await.expect("an answer").sessions, 0);
    store.put_snapshot(session.user_id, &snapshot(9), later()).await.expect("an answer");
    let late = self::session(session.user_id, at(1));
    assert!(!store.create_session(&late, generation, &snapshot(1), LIMIT).await.expect("an answer"));
}

async fn a_forgotten_user_that_is_there_again_has_sessions(store: &dyn SharedStore) {
    let user_id = create(store, UserId::generate(), at(0)).await.user_id;
    store.forget_user(user_id, None, later()).await.expect("an answer");
    let again = create(store, user_id, at(1)).await;
    let used = store.use_session(user_id, again.session_id, IDLE, at(2)).await.expect("an answer");
    assert_eq!(used.expect("a session").1.version, 1);
    store.put_snapshot(user_id, &snapshot(2), later()).await.expect("an answer");
    let used = store.use_session(user_id, again.session_id, IDLE, at(3)).await.expect("an answer");
    assert_eq!(used.expect("a session").1, snapshot(2));
}

async fn a_forgotten_user_is_reaped_in_time(store: &dyn SharedStore) {
    let user_id = create(store, UserId::generate(), at(0)).await.user_id;
    store.forget_user(user_id, None, at(60)).await.expect("an answer");
    store.reap(at(61)).await.expect("an answer");
    assert_eq!(generation(store, user_id).await, None);
}

async fn totals_follow_creation_and_ending(store: &dyn SharedStore) {
    let totals = async || store.session_totals().await.expect("an answer");
    assert_eq!((totals().await.sessions, totals().await.bytes), (0, 0));
    let first = create(store, UserId::generate(), at(0)).await;
    let one = totals().await;
    assert!(one.sessions == 1 && one.bytes > 100, "{one:?}");
    create(store, UserId::generate(), at(0)).await;
    assert_eq!((totals().await.sessions, totals().await.bytes), (2, 2 * one.bytes));
    store.end_session(first.user_id, first.session_id).await.expect("an answer");
    assert_eq!(totals().await, one);
}

async fn totals_follow_creation_ending_and_reaping(store: &dyn SharedStore) {
    let totals = async || store.session_totals().await.expect("an answer");
    assert_eq!((totals().await.sessions, totals().await.bytes), (0, 0));
    let first = create(store, UserId::generate(), at(0)).await;
    let one = totals().await;
    assert!(one.sessions == 1 && one.bytes > 100);
    create(store, UserId::generate(), at(0)).await;
    assert_eq!((totals().await.sessions, totals().await.bytes), (2, 2 * one.bytes));
    store.end_session(first.user_id, first.session_id).await.expect("an answer");
    assert_eq!(totals().await, one);
    assert_eq!(store.reap(at(3600)).await.expect("an answer"), 1);
    assert_eq!((totals().await.sessions, totals().await.bytes), (0, 0));
}

async fn reaping_leaves_what_is_alive(store: &dyn SharedStore) {
    let (old, young) =
        (create(store, UserId::generate(), at(0)).await, create(store, UserId::generate(), at(100)).await);
    assert_eq!(store.reap(at(3650)).await.expect("an answer"), 1);
    assert!(!is_alive(store, &old, at(3650)).await && is_alive(store, &young, at(3650)).await);
}

fn bucket(key: u8, burst: u32, interval: u64) -> Bucket {
    Bucket { key: [key; 32], burst, interval: Duration::from_secs(interval), charges: 1 }
}

async fn charge(store: &dyn SharedStore, buckets: &[Bucket], now: Timestamp) -> Option<Duration> {
    match store.charge(buckets, now).await.expect("an answer") {
        Charge::Accepted => None,
        Charge::Refused { retry_after, .. } => Some(retry_after),
    }
}

async fn buckets_take_their_burst_and_refill(store: &dyn SharedStore) {
    let bucket = [bucket(1, 3, 10)];
    for _ in 0..3 {
        assert_eq!(charge(store, &bucket, at(0)).await, None);
    }
    assert_eq!(charge(store, &bucket, at(0)).await, Some(Duration::from_secs(10)));
    assert_eq!(charge(store, &bucket, at(9)).await, Some(Duration::from_secs(1)));
    assert_eq!(charge(store, &bucket, at(10)).await, None);
    assert_eq!(charge(store, &bucket, at(10)).await, Some(Duration::from_secs(10)));
    for _ in 0..3 {
        assert_eq!(charge(store, &bucket, at(1000)).await, None);
    }
    assert!(charge(store, &bucket, at(1000)).await.is_some());
}

/// As after a clock was ahead by an hour: whoever it concerns is not locked out for that hour.
async fn a_bucket_that_is_full_too_late_is_taken_for_an_empty_one(store: &dyn SharedStore) {
    let (bucket, other) = ([bucket(1, 3, 10)], bucket(2, 1, 10));
    assert_eq!(charge(store, &bucket, at(3600)).await, None);
    assert_eq!(charge(store, &[bucket[0], other], at(0)).await, Some(Duration::from_secs(10)));
    assert_eq!(charge(store, &bucket, at(5)).await, Some(Duration::from_secs(5)), "it fills");
    assert_eq!(charge(store, &bucket, at(10)).await, None);
    assert_eq!(charge(store, &[other], at(10)).await, None);
    assert_eq!(charge(store, &bucket, at(3600)).await, None);
    store.refund(&bucket, at(0)).await.expect("an answer");
    assert_eq!(charge(store, &bucket, at(0)).await, None, "a refund makes room at once");
    assert!(charge(store, &bucket, at(0)).await.is_some());
}

async fn a_refused_charge_charges_nothing(store: &dyn SharedStore) {
    let (wide, narrow) = (bucket(1, 2, 10), bucket(2, 1, 10));
    assert_eq!(charge(store, &[wide, narrow], at(0)).await, None);
    assert!(charge(store, &[wide, narrow], at(0)).await.is_some());
    assert_eq!(charge(store, &[wide], at(0)).await, None);
    assert!(charge(store, &[wide], at(0)).await.is_some());
}

async fn a_refund_makes_room_but_no_more_than_there_was(store: &dyn SharedStore) {
    let bucket = [bucket(1, 2, 10)];
    for _ in 0..50 {
        assert_eq!(charge(store, &bucket, at(0)).await, None);
        store.refund(&bucket, at(0)).await.expect("an answer");
    }
    store.refund(&bucket, at(0)).await.expect("an answer");
    assert_eq!(charge(store, &bucket, at(0)).await, None);
    assert_eq!(charge(store, &bucket, at(0)).await, None);
    assert!(charge(store, &bucket, at(0)).await.is_some());
}

async fn several_charges_are_made_and_refunded_as_one(store: &dyn SharedStore) {
    let double = [Bucket { charges: 2, ..bucket(1, 3, 10) }];
    assert_eq!(charge(store, &double, at(0)).await, None);
    assert_eq!(charge(store, &double, at(0)).await, Some(Duration::from_secs(10)));
    assert_eq!(charge(store, &[bucket(1, 3, 10)], at(0)).await, None);
    store.refund(&double, at(0)).await.expect("an answer");
    assert_eq!(charge(store, &double, at(0)).await, None);
    assert!(charge(store, &[bucket(1, 3, 10)], at(0)).await.is_some());
}

async fn parallel_charges_do_not_slip_past_the_limit(store: &dyn SharedStore) {
    let bucket = [bucket(1, 10, 10)];
    let tries = futures_util::future::join_all((0..64).map(|_| charge(store, &bucket, at(0)))).await;
    assert_eq!(tries.iter().filter(|refused| refused.is_none()).count(), 10);
}
