//! Sessions, generations and snapshots.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{codec, keys, store::RedisSharedStore, totals};
use crate::{
    clock::Timestamp,
    model::{Generation, SessionId, StoredSession, UserId, UserSnapshot},
    secret,
    shared_store::{
        LoginStart, MAX_REVOCATION_LIFETIME, PendingRevocation, RevocationSelector, RevocationStep, SessionStore,
        SessionTotals, log_extension_failure, revocation::EXPIRED_RETENTION,
    },
    store_error::StoreError,
};

/// Returns a first generation: positive, and far enough below 2^53, up to which Lua represents integers exactly.
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
        let names = vec![keys::user(user_id), keys::revocations(user_id)];
        let (generation, last_expiry, now): (String, String, String) =
            self.run(&self.scripts.begin_login, names, vec![MAX_REVOCATION_LIFETIME.as_millis() as i64]).await?;
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
        let names = [keys::user(user_id), keys::session_index(user_id), keys::session(user_id, session.session_id)];
        let document = serde_json::to_string(snapshot).map_err(|source| self.corrupt("user snapshot", source))?;
        let arguments = [
            generation.map_or_else(String::new, |generation| generation.0.to_string()),
            random_generation().to_string(),
            session.created_at.millis().to_string(),
            limit.to_string(),
            snapshot.version.to_string(),
            document,
            keys::session_prefix(user_id),
            session.session_id.to_string(),
            session.idle_expires_at.millis().to_string(),
            session.expires_at.millis().to_string(),
            codec::encode_rest(session),
            i64::MAX.to_string(),
        ];
        self.run(&self.scripts.create_session, names.to_vec(), arguments.to_vec()).await
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
                // The session is live anyway. The next use extends it.
                Err(error) => log_extension_failure(&error),
            }
        }
        Ok(Some((session, snapshot)))
    }

    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<StoredSession>, StoreError> {
        let names = vec![keys::user(user_id), keys::session_index(user_id)];
        let arguments = vec![now.millis().to_string(), keys::session_prefix(user_id)];
        let texts: Vec<String> = self.run(&self.scripts.list_sessions, names, arguments).await?;
        let decode = |text: &String| codec::decode(user_id, text).map(|(_, session)| session);
        texts.iter().map(decode).collect::<Result<_, _>>().map_err(|source| self.corrupt("session", source))
    }

    async fn end_session(&self, user_id: UserId, session_id: SessionId) -> Result<bool, StoreError> {
        let names = vec![keys::user(user_id), keys::session_index(user_id), keys::session(user_id, session_id)];
        self.run_replicated(&self.scripts.end_session, names, vec![session_id.to_string()]).await
    }

    async fn raise_generation(
        &self,
        user_id: UserId,
        keep: Option<SessionId>,
        step: RevocationStep,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let user = keys::user(user_id);
        let kept = keep.map_or_else(|| user.clone(), |session_id| keys::session(user_id, session_id));
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
            EXPIRED_RETENTION.as_millis().to_string(),
        ];
        self.run_replicated(&self.scripts.raise_generation, vec![user, kept, keys::revocations(user_id)], arguments)
            .await
    }

    async fn remove_revocations(&self, user_id: UserId, which: RevocationSelector) -> Result<(), StoreError> {
        let key = keys::revocations(user_id);
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
        let names = vec![keys::user(user_id), keys::session_index(user_id), keys::revocations(user_id)];
        let arguments = vec![
            random_generation().to_string(),
            remaining(keep_until).to_string(),
            keys::session_prefix(user_id),
            i64::MAX.to_string(),
            revocation.map_or_else(String::new, |id| id.to_string()),
        ];
        self.run_replicated(&self.scripts.forget_user, names, arguments).await
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
        self.run_replicated(&self.scripts.put_snapshot, vec![keys::user(user_id)], arguments).await
    }

    async fn replace_snapshot(&self, user_id: UserId, snapshot: &UserSnapshot) -> Result<bool, StoreError> {
        let document = serde_json::to_string(snapshot).map_err(|source| self.corrupt("user snapshot", source))?;
        let arguments = vec![snapshot.version.to_string(), document];
        self.run(&self.scripts.replace_snapshot, vec![keys::user(user_id)], arguments).await
    }

    async fn session_totals(&self) -> Result<SessionTotals, StoreError> {
        totals::session_totals(&self.nodes).await.map_err(|source| self.unavailable(source))
    }
}

impl RedisSharedStore {
    /// Extends the idle expiry of a session. Returns the new expiry in Unix milliseconds, or `None` if the session has ended.
    async fn slide(&self, session: &StoredSession, idle: Duration, now: Timestamp) -> Result<Option<i64>, StoreError> {
        let names = vec![keys::session(session.user_id, session.session_id)];
        let arguments = vec![now.millis().to_string(), idle.as_millis().to_string()];
        self.run(&self.scripts.slide_session, names, arguments).await
    }
}
