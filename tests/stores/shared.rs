//! The suite of shared stores: sessions, throttling, the registry of instances, and locks.

mod buckets;
mod fleet;
mod revocation;
mod snapshots;

use std::time::Duration;

use serde_json::json;
use symbolon::{
    clock::Timestamp,
    model::{Client, Generation, Permissions, StoredSession, Token, UserId, UserSnapshot},
    shared_store::{RevocationStep, SharedStore},
};

use self::{buckets::*, fleet::*, revocation::*, snapshots::*};
use crate::support::{
    servers::redis::{Certificates, DEFAULT_BATCHES, Redis, RedisCluster, RedisPair},
    stores::{redis_store, sqlite_store},
};

/// Makes a test of each function for each implementation and kind of Redis, on servers of its own.
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
                let (_directory, store) = super::sqlite_store().await;
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
                let store = redis_store(&url, ca.as_deref(), $replicas, DEFAULT_BATCHES).await;
                super::$name(&store).await;
            })*
        }
    };
}

suite! {
    a_created_session_is_read_unchanged
    concurrent_session_reads_return_their_own_users
    a_first_generation_is_created_once
    a_raised_generation_ends_sessions_and_pending_logins
    a_generation_raised_before_the_first_login_stops_it
    an_excepted_session_survives_a_raised_generation_if_alive
    using_a_session_extends_its_idle_expiry_up_to_its_lifetime
    a_session_is_ended_once
    sessions_beyond_the_limit_replace_the_oldest
    a_snapshot_is_repaired_only_if_older_and_present
    a_snapshot_is_replaced_only_by_a_higher_version
    a_snapshot_written_before_the_first_login_stops_a_pending_login
    a_forgotten_user_leaves_nothing_behind
    a_revocation_is_pending_until_its_second_step
    a_second_step_leaves_other_revocations_pending
    an_expired_revocation_is_not_pending
    a_revocation_that_lasts_too_long_counts_as_expired
    an_excepted_session_survives_both_revocation_steps
    forgetting_a_user_removes_only_its_own_revocation
    totals_follow_creation_and_ending
    buckets_accept_their_burst_and_refill
    a_refused_charge_charges_nothing
    a_bucket_written_by_a_clock_ahead_counts_as_empty
    a_refund_never_exceeds_the_burst
    several_charges_are_made_and_refunded_together
    concurrent_charges_do_not_exceed_the_burst
    instances_are_listed_while_their_heartbeats_are_recent
    a_lock_has_one_holder_and_a_rising_fence
    a_lock_that_lasts_too_long_is_shortened_to_a_lease
    a_note_is_replaced_unless_written_under_a_higher_fence
    operators_set_and_reset_the_algorithm
    an_added_node_is_listed_until_removed
    a_removed_instance_is_listed_until_readmitted
}

// Redis itself removes what has expired.
sqlite_suite! {
    sqlite_reaping
    totals_follow_creation_ending_and_reaping
    reaping_leaves_live_sessions
    a_forgotten_user_can_have_sessions_again
    a_forgotten_user_is_reaped_after_its_expiry
}

const IDLE: Duration = Duration::from_secs(3600);
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);
const LIMIT: u32 = 100;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
}

/// An expiry in the near future. Redis goes by its own clock, which is not that of [`at`].
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

async fn a_created_session_is_read_unchanged(store: &dyn SharedStore) {
    let session = create(store, UserId::generate(), at(0)).await;
    let used = store.use_session(session.user_id, session.session_id, IDLE, at(0)).await.expect("an answer");
    assert_eq!(used, Some((session.clone(), snapshot(1))));
    assert!(store.use_session(UserId::generate(), session.session_id, IDLE, at(1)).await.expect("an answer").is_none());
    assert_eq!(store.list_sessions(session.user_id, at(1)).await.expect("an answer"), [session]);
}

async fn concurrent_session_reads_return_their_own_users(store: &dyn SharedStore) {
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

async fn a_first_generation_is_created_once(store: &dyn SharedStore) {
    let user_id = UserId::generate();
    assert_eq!(generation(store, user_id).await, None);
    let (first, second) = (session(user_id, at(0)), session(user_id, at(0)));
    assert!(store.create_session(&first, None, &snapshot(1), LIMIT).await.expect("an answer"));
    assert!(!store.create_session(&second, None, &snapshot(1), LIMIT).await.expect("an answer"));
    assert!(is_alive(store, &first, at(1)).await && !is_alive(store, &second, at(1)).await);
}

async fn a_raised_generation_ends_sessions_and_pending_logins(store: &dyn SharedStore) {
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

async fn a_generation_raised_before_the_first_login_stops_it(store: &dyn SharedStore) {
    let user_id = UserId::generate();
    let before = generation(store, user_id).await;
    store.raise_generation(user_id, None, RevocationStep::Only, later()).await.expect("an answer");
    assert!(!store.create_session(&session(user_id, at(2)), before, &snapshot(1), LIMIT).await.expect("an answer"));
}

async fn an_excepted_session_survives_a_raised_generation_if_alive(store: &dyn SharedStore) {
    let user_id = UserId::generate();
    let (kept, other) = (create(store, user_id, at(0)).await, create(store, user_id, at(1)).await);
    store.raise_generation(user_id, Some(kept.session_id), RevocationStep::Only, later()).await.expect("an answer");
    assert!(is_alive(store, &kept, at(2)).await && !is_alive(store, &other, at(2)).await);
    store.raise_generation(user_id, Some(other.session_id), RevocationStep::Only, later()).await.expect("an answer");
    assert!(!is_alive(store, &kept, at(3)).await && !is_alive(store, &other, at(3)).await);
}

async fn using_a_session_extends_its_idle_expiry_up_to_its_lifetime(store: &dyn SharedStore) {
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

async fn a_session_is_ended_once(store: &dyn SharedStore) {
    let session = create(store, UserId::generate(), at(0)).await;
    assert!(!store.end_session(UserId::generate(), session.session_id).await.expect("an answer"));
    assert!(store.end_session(session.user_id, session.session_id).await.expect("an answer"));
    assert!(!store.end_session(session.user_id, session.session_id).await.expect("an answer"));
    assert!(!is_alive(store, &session, at(1)).await);
}

async fn sessions_beyond_the_limit_replace_the_oldest(store: &dyn SharedStore) {
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

async fn a_forgotten_user_leaves_nothing_behind(store: &dyn SharedStore) {
    let session = create(store, UserId::generate(), at(0)).await;
    let generation = generation(store, session.user_id).await;
    store.forget_user(session.user_id, None, later()).await.expect("an answer");
    assert!(!is_alive(store, &session, at(1)).await);
    assert_eq!(store.session_totals().await.expect("an answer").sessions, 0);
    store.put_snapshot(session.user_id, &snapshot(9), later()).await.expect("an answer");
    let late = self::session(session.user_id, at(1));
    assert!(!store.create_session(&late, generation, &snapshot(1), LIMIT).await.expect("an answer"));
}

async fn a_forgotten_user_can_have_sessions_again(store: &dyn SharedStore) {
    let user_id = create(store, UserId::generate(), at(0)).await.user_id;
    store.forget_user(user_id, None, later()).await.expect("an answer");
    let again = create(store, user_id, at(1)).await;
    let used = store.use_session(user_id, again.session_id, IDLE, at(2)).await.expect("an answer");
    assert_eq!(used.expect("a session").1.version, 1);
    store.put_snapshot(user_id, &snapshot(2), later()).await.expect("an answer");
    let used = store.use_session(user_id, again.session_id, IDLE, at(3)).await.expect("an answer");
    assert_eq!(used.expect("a session").1, snapshot(2));
}

async fn a_forgotten_user_is_reaped_after_its_expiry(store: &dyn SharedStore) {
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

async fn reaping_leaves_live_sessions(store: &dyn SharedStore) {
    let (old, young) =
        (create(store, UserId::generate(), at(0)).await, create(store, UserId::generate(), at(100)).await);
    assert_eq!(store.reap(at(3650)).await.expect("an answer"), 1);
    assert!(!is_alive(store, &old, at(3650)).await && is_alive(store, &young, at(3650)).await);
}
