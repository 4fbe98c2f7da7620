//! Sessions that are read together from Redis.

use std::time::Duration;

use symbolon_batcher::BatchLimits;

use symbolon::{
    clock::Timestamp,
    model::{Client, Permissions, Preferences, StoredSession, Token, UserId, UserSnapshot},
    shared_store::{SessionStore, SharedStore, redis::RedisSharedStore},
    store_error::StoreError,
};

use crate::servers::{
    DEADLINE,
    redis::{Redis, RedisCluster},
};

const IDLE: Duration = Duration::from_secs(3600);

/// One batch at a time: of reads that come at once the first is a batch, and the others are the next one.
const BATCHES: BatchLimits = BatchLimits { max_in_flight: 1, max_keys: 64 };

async fn opened(url: &str, batches: BatchLimits) -> RedisSharedStore {
    let store = RedisSharedStore::connect(url, None, 0, batches).expect("a URL");
    assert!(store.answers_within(DEADLINE).await, "Redis answers");
    store
}

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

/// Whose name the session shows, if it is alive.
async fn shown(store: &RedisSharedStore, session: &StoredSession) -> Result<Option<String>, StoreError> {
    let used = store.use_session(session.user_id, session.session_id, IDLE, Timestamp::now()).await?;
    Ok(used.map(|(_, user)| user.login_name))
}

#[tokio::test]
async fn reads_that_come_at_once_share_a_command() {
    let server = Redis::start();
    let store = opened(&server.url(), BATCHES).await;
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
async fn with_batches_of_one_every_read_is_a_command_of_its_own() {
    let server = Redis::start();
    let store = opened(&server.url(), BatchLimits { max_in_flight: 1, max_keys: 1 }).await;
    let session = created(&store).await;
    assert_eq!(shown(&store, &session).await.expect("an answer"), Some(session.user_id.to_string()));
    assert_eq!(store.batching(), None);
}

#[tokio::test]
async fn in_a_cluster_every_read_is_a_command_of_its_own() {
    let server = RedisCluster::start();
    let store = opened(&server.url(), BATCHES).await;
    let session = created(&store).await;
    assert_eq!(shown(&store, &session).await.expect("an answer"), Some(session.user_id.to_string()));
    assert_eq!(store.batching(), None);
}

#[tokio::test]
async fn a_session_that_cannot_be_read_is_the_failure_of_those_alone_who_ask_for_it() {
    let server = Redis::start();
    let store = opened(&server.url(), BATCHES).await;
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
