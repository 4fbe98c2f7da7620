//! Sessions without state in the instance: what a token opens is decided by the shared store alone.
//!
//! Invariants: a session is accepted only while the store has it, its generation is the user's current one, and neither
//! its idle nor its absolute expiry has passed. Ending is acknowledged only once the store has it. The seed's session
//! id was a user and a second, and guessable; here it names a session without opening it.

mod revocation;

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Timestamp,
    model::{Client, Generation, SessionId, StoredSession, Token, User, UserId, UserSnapshot},
    shared_store::{LoginStart, RevocationStep, SessionStore, SessionTotals},
    store_error::StoreError,
};
pub use revocation::Revocation;

/// How long a generation that no session was made under is kept, for logins under way to find.
const LOGIN_TAKES_AT_MOST: Duration = Duration::from_secs(3600);

/// The longest `User-Agent` that is kept, in bytes.
const MAX_USER_AGENT: usize = 256;

/// How sessions end by themselves.
#[derive(Debug, Clone, Copy)]
pub struct SessionPolicy {
    /// Without use.
    pub idle: Duration,
    /// At the latest.
    pub lifetime: Duration,
    /// How many a user may have; the oldest give way.
    pub limit: u32,
}

/// Makes, checks and ends sessions.
#[derive(Debug, Clone)]
pub struct Sessions {
    store: Arc<dyn SessionStore>,
    policy: SessionPolicy,
}

/// A live session and what it shows of its user.
#[derive(Debug, Clone)]
pub struct LiveSession {
    /// The session.
    pub session: StoredSession,
    /// Its user, as of the snapshot's version.
    pub user: UserSnapshot,
}

/// A token that opens nothing: mangled, unknown, ended or expired.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is no such live session.
    #[error("the session does not exist, has ended or has expired")]
    Invalid,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sessions {
    /// Sessions in `store`.
    pub fn new(store: Arc<dyn SessionStore>, policy: SessionPolicy) -> Self {
        Self { store, policy }
    }

    /// How sessions end by themselves.
    pub fn policy(&self) -> SessionPolicy {
        self.policy
    }

    /// The first step of a login: the generation under which its session may be made. What is verified after this and
    /// before [`Self::create`] can't be outdated by a change that raises the generation, unless a revocation is pending.
    pub async fn begin(&self, user_id: UserId) -> Result<LoginStart, StoreError> {
        self.store.begin_login(user_id).await
    }

    /// Makes a session for `user` as read after [`Self::begin`]; `None` if the generation was raised since.
    pub async fn create(
        &self,
        generation: Option<Generation>,
        user: &User,
        mut client: Client,
    ) -> Result<Option<(Token, LiveSession)>, StoreError> {
        let token = Token::for_session(user.user_id);
        let digest = token.digest();
        let now = Timestamp::now();
        if let Some(user_agent) = &mut client.user_agent {
            user_agent.truncate(user_agent.floor_char_boundary(MAX_USER_AGENT));
        }
        let session = StoredSession {
            session_id: digest.session_id(),
            user_id: user.user_id,
            digest,
            created_at: now,
            idle_expires_at: (now + self.policy.idle).min(now + self.policy.lifetime),
            expires_at: now + self.policy.lifetime,
            client,
        };
        let snapshot = UserSnapshot::of(user);
        let created = self.store.create_session(&session, generation, &snapshot, self.policy.limit).await?;
        Ok(created.then_some((token, LiveSession { session, user: snapshot })))
    }

    /// The live session that a token opens; using it slides its idle expiry.
    pub async fn authenticate(&self, token: &Token) -> Result<LiveSession, SessionError> {
        let digest = token.digest();
        let used =
            self.store.use_session(token.user_id(), digest.session_id(), self.policy.idle, Timestamp::now()).await?;
        match used {
            Some((session, user)) if session.digest.matches(&digest) => Ok(LiveSession { session, user }),
            _ => Err(SessionError::Invalid),
        }
    }

    /// The user's live sessions, oldest first.
    pub async fn list(&self, user_id: UserId) -> Result<Vec<StoredSession>, StoreError> {
        self.store.list_sessions(user_id, Timestamp::now()).await
    }

    /// Ends one session; false if there was none.
    pub async fn end(&self, user_id: UserId, session_id: SessionId) -> Result<bool, StoreError> {
        self.store.end_session(user_id, session_id).await
    }

    /// Ends all of a user's sessions but `keep`, at once however many there are.
    pub async fn end_all(&self, user_id: UserId, keep: Option<SessionId>) -> Result<(), StoreError> {
        let keep_until = Timestamp::now() + LOGIN_TAKES_AT_MOST;
        self.store.raise_generation(user_id, keep, RevocationStep::Only, keep_until).await
    }

    /// Ends all sessions of a deleted user and erases what is kept of it; the second step of `revocation`, if it is one.
    pub async fn forget(&self, user_id: UserId, revocation: Option<&Revocation>) -> Result<(), StoreError> {
        let id = revocation.map(Revocation::id);
        self.store.forget_user(user_id, id, Timestamp::now() + LOGIN_TAKES_AT_MOST).await
    }

    /// Shows a changed user in all its sessions.
    pub async fn publish(&self, user: &User) -> Result<(), StoreError> {
        self.store.put_snapshot(user.user_id, &UserSnapshot::of(user), Timestamp::now() + LOGIN_TAKES_AT_MOST).await
    }

    /// Shows a user in its sessions where they show an older version of it.
    pub async fn republish(&self, user: &User) -> Result<(), StoreError> {
        self.store.replace_snapshot(user.user_id, &UserSnapshot::of(user)).await.map(drop)
    }

    /// How many sessions there are.
    pub async fn totals(&self) -> Result<SessionTotals, StoreError> {
        self.store.session_totals().await
    }
}
