//! Sessions, generations and snapshots.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{PREFIX, RedisSharedStore, codec, totals};
use crate::{
    clock::Timestamp,
    model::{Generation, SessionId, StoredSession, UserId, UserSnapshot},
    secret,
    shared_store::{
        LoginStart, MAX_REVOCATION_LIFETIME, PendingRevocation, RevocationSelector, RevocationStep, SessionStore,
        SessionTotals, not_prolonged, revocation::EXPIRED_KEPT,
    },
    store_error::StoreError,
};

fn key(user_id: UserId, of: &str) -> String {
    let mut uuid = uuid::Uuid::encode_buffer();
    [PREFIX, "{", user_id.uuid().hyphenated().encode_lower(&mut uuid), "}:", of].concat()
}

/// The user's generation and snapshot.
pub(super) fn user_key(user_id: UserId) -> String {
    key(user_id, "user")
}

pub(super) fn session_key(user_id: UserId, session_id: SessionId) -> String {
    key(user_id, &format!("session:{session_id}"))
}

fn revocations_key(user_id: UserId) -> String {
    key(user_id, "revocations")
}

/// Where a first generation starts: positive, and with room to rise below 2^53, up to which scripts count exactly.
fn random_generation() -> i64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&secret::random()[..8]);
    (u64::from_be_bytes(bytes) >> 12) as i64
}

fn remaining(until: Timestamp) -> i64 {
    (until.millis() - Timestamp::now().millis()).max(1)
}

#[async_trait]
impl SessionStore for RedisSharedStore {
    async fn begin_login(&self, user_id: UserId) -> Result<LoginStart, StoreError> {
        let keys = vec![user_key(user_id), revocations_key(user_id)];
        let (generation, last_expiry, now): (String, String, String) =
            self.run(&self.scripts.begin_login, keys, vec![MAX_REVOCATION_LIFETIME.as_millis() as i64]).await?;
        let number = |what, text: &str| match text {
            "" => Ok(None),
            text => text.parse::<i64>().map(Some).map_err(|error| self.corrupt(what, error)),
        };
        let now = number("clock", &now)?.map_or_else(Timestamp::now, Timestamp::from_millis);
        let last_expiry = number("revocation", &last_expiry)?.map(Timestamp::from_millis);
        Ok(LoginStart {
            generation: number("generation", &generation)?.map(Generation),
            revocation: PendingRevocation::at(now, last_expiry),
        })
    }

    async fn create_session(
        &self,
        session: &StoredSession,
        generation: Option<Generation>,
        snapshot: &UserSnapshot,
        limit: u32,
    ) -> Result<bool, StoreError> {
        let user_id = session.user_id;
        let keys = [user_key(user_id), key(user_id, "index"), session_key(user_id, session.session_id)];
        let document = serde_json::to_string(snapshot).map_err(|source| self.corrupt("user snapshot", source))?;
        let arguments = [
            generation.map_or_else(String::new, |generation| generation.0.to_string()),
            random_generation().to_string(),
            session.created_at.millis().to_string(),
            limit.to_string(),
            snapshot.version.to_string(),
            document,
            key(user_id, "session:"),
            session.session_id.to_string(),
            session.idle_expires_at.millis().to_string(),
            session.expires_at.millis().to_string(),
            codec::encode_rest(session),
            i64::MAX.to_string(),
        ];
        self.run(&self.scripts.create_session, keys.to_vec(), arguments.to_vec()).await
    }

    async fn use_session(
        &self,
        user_id: UserId,
        session_id: SessionId,
        idle: Duration,
        now: Timestamp,
    ) -> Result<Option<(StoredSession, UserSnapshot)>, StoreError> {
        let live = self.session_reads.read((user_id, session_id)).await.map_err(|source| self.unavailable(source))?;
        let live = live.map_err(|source| self.corrupt("session", source))?;
        let Some((mut session, snapshot)) = live.filter(|(session, _)| session.is_live(now)) else { return Ok(None) };
        if session.extended_idle_expiry(idle, now).is_some() {
            // Boxed because it is large and rare.
            match Box::pin(self.slide(&session, idle, now)).await {
                Ok(Some(idle_ends)) => session.idle_expires_at = Timestamp::from_millis(idle_ends),
                Ok(None) => return Ok(None),
                // The session is alive all the same; it slides when it is used again.
                Err(error) => not_prolonged(&error),
            }
        }
        Ok(Some((session, snapshot)))
    }

    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<StoredSession>, StoreError> {
        let keys = vec![user_key(user_id), key(user_id, "index")];
        let arguments = vec![now.millis().to_string(), key(user_id, "session:")];
        let texts: Vec<String> = self.run(&self.scripts.list_sessions, keys, arguments).await?;
        let decode = |text: &String| codec::decode(user_id, text).map(|(_, session)| session);
        texts.iter().map(decode).collect::<Result<_, _>>().map_err(|source| self.corrupt("session", source))
    }

    async fn end_session(&self, user_id: UserId, session_id: SessionId) -> Result<bool, StoreError> {
        let keys = vec![user_key(user_id), key(user_id, "index"), session_key(user_id, session_id)];
        self.run_kept(&self.scripts.end_session, keys, vec![session_id.to_string()]).await
    }

    async fn raise_generation(
        &self,
        user_id: UserId,
        keep: Option<SessionId>,
        step: RevocationStep,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let user = user_key(user_id);
        let kept = keep.map_or_else(|| user.clone(), |session_id| session_key(user_id, session_id));
        let (revocation, lifetime) = match step {
            RevocationStep::Only => (String::new(), String::new()),
            RevocationStep::First { id, lifetime } => (id.to_string(), lifetime.as_millis().to_string()),
            RevocationStep::Second { id } => (id.to_string(), String::new()),
        };
        let arguments = vec![
            random_generation().to_string(),
            remaining(keep_until).to_string(),
            revocation,
            lifetime,
            EXPIRED_KEPT.as_millis().to_string(),
        ];
        self.run_kept(&self.scripts.raise_generation, vec![user, kept, revocations_key(user_id)], arguments).await
    }

    async fn remove_revocations(&self, user_id: UserId, which: RevocationSelector) -> Result<(), StoreError> {
        let key = revocations_key(user_id);
        match which {
            RevocationSelector::One(id) => self.command("ZREM", &[&key, &id.to_string()]).await,
            RevocationSelector::ExpiredBy(moment) => {
                self.command("ZREMRANGEBYSCORE", &[&key, "-inf", &moment.millis().to_string()]).await
            }
        }
    }

    async fn forget_user(
        &self,
        user_id: UserId,
        revocation: Option<Uuid>,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let keys = vec![user_key(user_id), key(user_id, "index"), revocations_key(user_id)];
        let arguments = vec![
            random_generation().to_string(),
            remaining(keep_until).to_string(),
            key(user_id, "session:"),
            i64::MAX.to_string(),
            revocation.map_or_else(String::new, |id| id.to_string()),
        ];
        self.run_kept(&self.scripts.forget_user, keys, arguments).await
    }

    async fn put_snapshot(
        &self,
        user_id: UserId,
        snapshot: &UserSnapshot,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let document = serde_json::to_string(snapshot).map_err(|source| self.corrupt("user snapshot", source))?;
        let arguments = vec![
            random_generation().to_string(),
            remaining(keep_until).to_string(),
            snapshot.version.to_string(),
            document,
        ];
        self.run_kept(&self.scripts.put_snapshot, vec![user_key(user_id)], arguments).await
    }

    async fn replace_snapshot(&self, user_id: UserId, snapshot: &UserSnapshot) -> Result<bool, StoreError> {
        let document = serde_json::to_string(snapshot).map_err(|source| self.corrupt("user snapshot", source))?;
        let arguments = vec![snapshot.version.to_string(), document];
        self.run(&self.scripts.replace_snapshot, vec![user_key(user_id)], arguments).await
    }

    async fn session_totals(&self) -> Result<SessionTotals, StoreError> {
        totals::of(&self.nodes).await.map_err(|source| self.unavailable(source))
    }
}

impl RedisSharedStore {
    /// Moves the idle expiry of a session; when it ends then, in milliseconds, or none if it is gone.
    async fn slide(&self, session: &StoredSession, idle: Duration, now: Timestamp) -> Result<Option<i64>, StoreError> {
        let keys = vec![session_key(session.user_id, session.session_id)];
        let arguments = vec![now.millis().to_string(), idle.as_millis().to_string()];
        self.run(&self.scripts.slide_session, keys, arguments).await
    }
}
