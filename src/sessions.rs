//! Sessions. Instances keep no session state; the shared store decides what a token is good for.
//!
//! Invariants: a session is accepted only while the store has it, its generation is the user's current one, and neither its
//! idle nor its absolute expiry has passed. A request to end a session succeeds only once the store has ended it.

mod revocation;

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Timestamp,
    model::{Client, Generation, SessionId, StoredSession, Token, User, UserId, UserSnapshot},
    shared_store::{LoginStart, RevocationStep, SessionStore, SessionTotals},
    store_error::StoreError,
};
pub use revocation::Revocation;

/// Time for which a generation without sessions is kept, so that a login in progress finds it.
const GENERATION_TTL: Duration = Duration::from_secs(3600);

/// Maximum length of a stored `User-Agent`, in bytes.
const MAX_USER_AGENT: usize = 256;

/// Limits of sessions.
#[derive(Debug, Clone, Copy)]
pub struct SessionPolicy {
    /// A session ends after this time without use.
    pub idle: Duration,
    /// A session ends after this time in any case.
    pub lifetime: Duration,
    /// Maximum of sessions of one user. A new session beyond it ends the oldest.
    pub limit: u32,
}

#[derive(Debug, Clone)]
pub struct Sessions {
    store: Arc<dyn SessionStore>,
    policy: SessionPolicy,
}

/// A live session and the snapshot of its user.
#[derive(Debug, Clone)]
pub struct LiveSession {
    pub session: StoredSession,
    pub user: UserSnapshot,
}

/// Why a token was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("the session does not exist, has ended or has expired")]
    Invalid,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sessions {
    pub fn new(store: Arc<dyn SessionStore>, policy: SessionPolicy) -> Self {
        Self { store, policy }
    }

    pub fn policy(&self) -> SessionPolicy {
        self.policy
    }

    /// Begins a login: returns the generation for its session, and any pending revocation. If a change raises the generation
    /// between this call and [`Self::create`], no session is created.
    pub async fn begin(&self, user_id: UserId) -> Result<LoginStart, StoreError> {
        self.store.begin_login(user_id).await
    }

    /// Creates a session for `user`, which was read after [`Self::begin`]. Returns `None` if the generation was raised since.
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

    /// Returns the live session of a token, and extends its idle expiry.
    pub async fn authenticate(&self, token: &Token) -> Result<LiveSession, SessionError> {
        let digest = token.digest();
        let used =
            self.store.use_session(token.user_id(), digest.session_id(), self.policy.idle, Timestamp::now()).await?;
        match used {
            Some((session, user)) if session.digest.matches(&digest) => Ok(LiveSession { session, user }),
            _ => Err(SessionError::Invalid),
        }
    }

    /// Returns the user's live sessions, oldest first.
    pub async fn list(&self, user_id: UserId) -> Result<Vec<StoredSession>, StoreError> {
        self.store.list_sessions(user_id, Timestamp::now()).await
    }

    /// Ends one session. Returns false if it did not exist.
    pub async fn end(&self, user_id: UserId, session_id: SessionId) -> Result<bool, StoreError> {
        self.store.end_session(user_id, session_id).await
    }

    /// Ends all sessions of a user except `keep`, in constant time.
    pub async fn end_all(&self, user_id: UserId, keep: Option<SessionId>) -> Result<(), StoreError> {
        let keep_until = Timestamp::now() + GENERATION_TTL;
        self.store.raise_generation(user_id, keep, RevocationStep::Only, keep_until).await
    }

    /// Ends all sessions of a deleted user and erases its data in the store. Finishes `revocation`, if given.
    pub async fn forget(&self, user_id: UserId, revocation: Option<&Revocation>) -> Result<(), StoreError> {
        let id = revocation.map(Revocation::id);
        self.store.forget_user(user_id, id, Timestamp::now() + GENERATION_TTL).await
    }

    /// Writes the snapshot of a changed user, which all its sessions return.
    pub async fn publish(&self, user: &User) -> Result<(), StoreError> {
        self.store.put_snapshot(user.user_id, &UserSnapshot::of(user), Timestamp::now() + GENERATION_TTL).await
    }

    /// Replaces the snapshot of a user if it has an older version.
    pub async fn republish(&self, user: &User) -> Result<(), StoreError> {
        self.store.replace_snapshot(user.user_id, &UserSnapshot::of(user)).await.map(drop)
    }

    pub async fn totals(&self) -> Result<SessionTotals, StoreError> {
        self.store.session_totals().await
    }
}
