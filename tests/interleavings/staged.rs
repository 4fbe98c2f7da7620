//! A SQLite shard that can be made to wait for another operation before or after a statement.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::{PASSWORD, sqlite, temporary_directory};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use symbolon::{
    model::{Client, LoginName, PasswordHash, Profile, User, UserId},
    passwords::{PasswordPolicy, Passwords},
    sessions::{SessionPolicy, Sessions},
    shards::{BulkStore, Claim, ShardStore, Shards, StoredClaim, sqlite::SqliteShard},
    shared_store::sqlite::SqliteSharedStore,
    store_error::{Outcome, StoreError},
    throttle::Throttle,
    topology::{FIRST_EPOCH, Topology},
    users::{IssuedSession, Registration, UserError, Users},
};
use symbolon_partitioner::{PartitionerSpec, Strategy};
use tempfile::TempDir;
use uuid::Uuid;

/// A statement of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Find,
    Insert,
    Update,
    Delete,
    Confirm,
}

/// Users on one shard, with events before or after its statements.
#[derive(Clone)]
pub struct Stage {
    shard: Arc<StagedShard>,
    sessions: Sessions,
    passwords: Arc<Passwords>,
    throttle: Throttle,
    path: PathBuf,
    _directory: Arc<TempDir>,
}

struct StagedShard {
    inner: SqliteShard,
    before: Mutex<HashMap<Step, BoxFuture<'static, ()>>>,
    after: Mutex<HashMap<Step, BoxFuture<'static, ()>>>,
    unsent: Mutex<HashSet<Step>>,
    claim_lookups: AtomicUsize,
}

impl std::fmt::Debug for StagedShard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

pub fn registration(login_name: &str) -> Registration {
    Registration {
        login_name: login_name.to_owned(),
        password: PASSWORD.to_owned().into(),
        profile: Profile { name: "Ada".to_owned(), email: "ada@example.com".to_owned() },
        preferences: serde_json::Map::new(),
        idempotency_key: None,
        by: symbolon::audit::Actor::Anonymous,
        address: None,
    }
}

impl Stage {
    pub async fn new() -> Self {
        let directory = temporary_directory();
        let path = directory.path().join("shard.sqlite");
        let inner = SqliteShard::open("only", &path, FIRST_EPOCH).await.expect("a shard");
        let shared = Arc::new(SqliteSharedStore::open(&directory.path().join("shared.sqlite")).await.expect("a store"));
        let hour = Duration::from_secs(3600);
        let policy = PasswordPolicy { memory_kib: 8, iterations: 1, parallelism: 1, threads: 2, queue_timeout: hour };
        Self {
            shard: Arc::new(StagedShard {
                inner,
                before: Mutex::default(),
                after: Mutex::default(),
                unsent: Mutex::default(),
                claim_lookups: AtomicUsize::new(0),
            }),
            sessions: Sessions::new(shared.clone(), SessionPolicy { idle: hour, lifetime: hour, limit: 100 }),
            passwords: Arc::new(Passwords::start(&policy).expect("valid parameters")),
            throttle: Throttle::new(shared, None, tokio_util::task::TaskTracker::new()),
            path,
            _directory: Arc::new(directory),
        }
    }

    pub fn users(&self) -> Users {
        let placement = PartitionerSpec::new(Strategy::ConsistentHash, ["only"]);
        let shards = Shards::new([("only".to_owned(), self.shard.clone() as Arc<dyn ShardStore>)]);
        shards.adopt(&Topology { epoch: FIRST_EPOCH, placement }).expect("a valid topology");
        Users::new(shards, self.sessions.clone(), self.passwords.clone(), self.throttle.clone())
    }

    /// Has `event` happen before the next such step. Steps of the event itself do not wait.
    pub fn before(&self, step: Step, event: impl Future<Output = ()> + Send + 'static) {
        self.shard.before.lock().expect("no panic").insert(step, Box::pin(event));
    }

    /// Has `event` happen after the next such step, before its caller gets the result.
    pub fn after(&self, step: Step, event: impl Future<Output = ()> + Send + 'static) {
        self.shard.after.lock().expect("no panic").insert(step, Box::pin(event));
    }

    /// Asserts that no event is left over, so that the assertions in events were made.
    pub fn assert_all_events_happened(&self) {
        for (when, events) in [("before", &self.shard.before), ("after", &self.shard.after)] {
            let left: Vec<Step> = events.lock().expect("no panic").keys().copied().collect();
            assert!(left.is_empty(), "events {when} {left:?} did not happen");
        }
    }

    /// How often claims have been looked up.
    pub fn claim_lookups(&self) -> usize {
        self.shard.claim_lookups.load(Ordering::Relaxed)
    }

    /// Has the next such step fail as one that was not sent.
    pub fn refuse(&self, step: Step) {
        self.shard.unsent.lock().expect("no panic").insert(step);
    }

    pub async fn login(&self, name: &str, password: &str) -> Result<IssuedSession, UserError> {
        self.users().login(name, &password.to_owned().into(), None, Client::default()).await
    }

    pub async fn sessions_of(&self, user_id: UserId) -> usize {
        self.sessions.list(user_id).await.expect("an answer").len()
    }

    /// Makes all revocations expire, without a change of any clock.
    pub async fn expire_revocations(&self) {
        let mut shared = sqlite(&self.path.with_file_name("shared.sqlite")).await;
        sqlx::query("UPDATE revocations SET expires_at = 1").execute(&mut shared).await.expect("the statement runs");
    }

    /// Makes every claim so old that it can be taken over.
    pub async fn age_claims(&self) {
        let statement = "UPDATE login_names SET claimed_at = claimed_at - 61000";
        sqlx::query(statement).execute(&mut sqlite(&self.path).await).await.expect("the statement runs");
    }

    /// The ids of the live users with a login name.
    pub async fn rows_naming(&self, name: &str) -> Vec<String> {
        let query = sqlx::query_scalar("SELECT user_id FROM users WHERE state = 'live' AND login_name = ?").bind(name);
        query.fetch_all(&mut sqlite(&self.path).await).await.expect("rows")
    }
}

impl StagedShard {
    fn send(&self, step: Step) -> Result<(), StoreError> {
        let is_unsent = self.unsent.lock().expect("no panic").remove(&step);
        let refusal = || StoreError::Unavailable {
            store: "only".to_owned(),
            outcome: Outcome::NotSent,
            source: "refused".into(),
        };
        if is_unsent { Err(refusal()) } else { Ok(()) }
    }

    async fn before(&self, step: Step) {
        let event = self.before.lock().expect("no panic").remove(&step);
        if let Some(event) = event {
            event.await;
        }
    }

    async fn after(&self, step: Step) {
        let event = self.after.lock().expect("no panic").remove(&step);
        if let Some(event) = event {
            event.await;
        }
    }
}

#[async_trait]
impl BulkStore for StagedShard {
    async fn find_users(&self, user_ids: &[UserId]) -> Result<Vec<User>, StoreError> {
        self.inner.find_users(user_ids).await
    }

    async fn list_users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        self.inner.list_users(after, limit).await
    }

    async fn insert_users(&self, epoch: i64, users: &[User]) -> Result<Vec<UserId>, StoreError> {
        self.inner.insert_users(epoch, users).await
    }

    async fn claim_names(&self, epoch: i64, claims: &[Claim]) -> Result<Vec<StoredClaim>, StoreError> {
        self.inner.claim_names(epoch, claims).await
    }
}

#[async_trait]
impl ShardStore for StagedShard {
    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    fn statement_timeout(&self) -> Duration {
        // Short, so that revocations expire within a test.
        Duration::from_millis(200)
    }

    async fn find_user(&self, user_id: UserId) -> Result<Option<User>, StoreError> {
        self.before(Step::Find).await;
        let found = self.inner.find_user(user_id).await;
        self.after(Step::Find).await;
        found
    }

    async fn insert_user(&self, epoch: i64, user: &User) -> Result<bool, StoreError> {
        self.before(Step::Insert).await;
        self.send(Step::Insert)?;
        self.inner.insert_user(epoch, user).await
    }

    async fn update_user(&self, user: &User, expected: i64) -> Result<bool, StoreError> {
        self.before(Step::Update).await;
        self.send(Step::Update)?;
        let updated = self.inner.update_user(user, expected).await;
        self.after(Step::Update).await;
        updated
    }

    async fn rehash(&self, user_id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<bool, StoreError> {
        self.inner.rehash(user_id, old, new).await
    }

    async fn delete_user(&self, user_id: UserId, version: i64) -> Result<bool, StoreError> {
        self.before(Step::Delete).await;
        self.inner.delete_user(user_id, version).await
    }

    async fn void_user(&self, epoch: i64, user_id: UserId) -> Result<bool, StoreError> {
        self.inner.void_user(epoch, user_id).await
    }

    async fn raise_version(&self, user_id: UserId, expected: i64, version: i64) -> Result<bool, StoreError> {
        self.inner.raise_version(user_id, expected, version).await
    }

    async fn find_claim(&self, login_name: &LoginName) -> Result<Option<StoredClaim>, StoreError> {
        self.claim_lookups.fetch_add(1, Ordering::Relaxed);
        self.inner.find_claim(login_name).await
    }

    async fn claim_name(&self, epoch: i64, claim: &Claim) -> Result<bool, StoreError> {
        self.inner.claim_name(epoch, claim).await
    }

    async fn replace_claim(&self, old_claim_id: Uuid, new: &Claim) -> Result<bool, StoreError> {
        self.inner.replace_claim(old_claim_id, new).await
    }

    async fn confirm_claim(&self, claim: &Claim) -> Result<bool, StoreError> {
        self.before(Step::Confirm).await;
        self.inner.confirm_claim(claim).await
    }

    async fn release_claim(&self, claim: &Claim) -> Result<bool, StoreError> {
        self.inner.release_claim(claim).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
