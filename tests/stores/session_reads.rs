//! Batches of session reads from Redis.

use std::time::Duration;

use symbolon_batcher::BatchLimits;

use symbolon::{
    clock::Timestamp,
    model::{Client, Permissions, Preferences, StoredSession, Token, UserId, UserSnapshot},
    shared_store::{SessionStore, SharedStore, redis::RedisSharedStore},
    store_error::StoreError,
};

use crate::support::{
    servers::redis::{Redis, RedisCluster},
    stores::redis_store,
};

const IDLE: Duration = Duration::from_secs(3600);

/// One batch at a time: concurrent reads are at most two batches.
const BATCHES: BatchLimits = BatchLimits { max_in_flight: 1, max_keys: 64 };

async fn created(store: &RedisSharedStore) -> StoredSession {
    let user_id = UserId::generate();
    let (digest, now) = (Token::for_session(user_id).digest(), Timestamp::now());
    let session = StoredSession {
        session_id: digest.session_id(),
        user_id,
        digest,
        created_at: now,
        idle_expires_at: now + IDLE,
        expires_at: now + 2 * IDLE,
        client: Client { address: None, user_agent: None },
    };
    let snapshot = UserSnapshot {
        version: 1,
        login_name: user_id.to_string(),
        permissions: Permissions::default(),
        preferences: Preferences::default(),
    };
    assert!(store.create_session(&session, None, &snapshot, 100).await.expect("an answer"));
    session
}

/// The login name that a session shows, if it is alive.
async fn shown(store: &RedisSharedStore, session: &StoredSession) -> Result<Option<String>, StoreError> {
    let used = store.use_session(session.user_id, session.session_id, IDLE, Timestamp::now()).await?;
    Ok(used.map(|(_, user)| user.login_name))
}

#[tokio::test]
async fn concurrent_reads_share_a_command() {
    let server = Redis::start();
    let store = redis_store(&server.url(), None, 0, BATCHES).await;
    let sessions = [created(&store).await, created(&store).await, created(&store).await];
    let [first, second, third] = &sessions;
    let (first, second, third) = tokio::join!(shown(&store, first), shown(&store, second), shown(&store, third));
    for (session, shown) in sessions.iter().zip([first, second, third]) {
        assert_eq!(shown.expect("an answer"), Some(session.user_id.to_string()));
    }
    let stats = store.batching().expect("batches");
    assert_eq!((stats.lookups, stats.batches, stats.keys), (3, 1, 3));
}

#[tokio::test]
async fn batches_of_one_read_are_not_batched() {
    let server = Redis::start();
    let store = redis_store(&server.url(), None, 0, BatchLimits { max_in_flight: 1, max_keys: 1 }).await;
    let session = created(&store).await;
    assert_eq!(shown(&store, &session).await.expect("an answer"), Some(session.user_id.to_string()));
    assert_eq!(store.batching(), None);
}

#[tokio::test]
async fn reads_in_a_cluster_are_not_batched() {
    let server = RedisCluster::start();
    let store = redis_store(&server.url(), None, 0, BATCHES).await;
    let session = created(&store).await;
    assert_eq!(shown(&store, &session).await.expect("an answer"), Some(session.user_id.to_string()));
    assert_eq!(store.batching(), None);
}

#[tokio::test]
async fn a_corrupt_session_fails_only_its_own_reads() {
    let server = Redis::start();
    let store = redis_store(&server.url(), None, 0, BATCHES).await;
    let sessions = [created(&store).await, created(&store).await, created(&store).await];
    let damage = "redis.call('SET', KEYS[1], string.match(redis.call('GET', KEYS[1]), '^%S+') .. ' no version')";
    server.command(&["EVAL", damage, "1", &format!("symbolon:{{{}}}:user", sessions[1].user_id)]);
    let [first, damaged, third] = &sessions;
    let (first, damaged, third) = tokio::join!(shown(&store, first), shown(&store, damaged), shown(&store, third));
    assert!(matches!(damaged, Err(StoreError::Corrupt { .. })), "{damaged:?}");
    for (session, shown) in [(&sessions[0], first), (&sessions[2], third)] {
        assert_eq!(shown.expect("an answer"), Some(session.user_id.to_string()));
    }
}
