//! Sessions, generations and snapshots.

use std::time::Duration;

use async_trait::async_trait;
use fred::types::Value;

use super::{PREFIX, RedisSharedStore, codec, totals};
use crate::{
    clock::Timestamp,
    secret,
    sessions::SessionId,
    shared_store::{Generation, SessionStore, SessionTotals, StoredSession, UserSnapshot},
    store_error::StoreError,
    users::UserId,
};

pub(super) fn key(user_id: UserId, of: &str) -> String {
    let mut uuid = uuid::Uuid::encode_buffer();
    [PREFIX, "{", user_id.uuid().hyphenated().encode_lower(&mut uuid), "}:", of].concat()
}

pub(super) fn session_key(user_id: UserId, session_id: SessionId) -> String {
    key(user_id, &format!("session:{session_id}"))
}

/// Where a first generation starts: positive, with room to rise.
fn random_generation() -> i64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&secret::random()[..8]);
    i64::from_be_bytes(bytes).abs() >> 2
}

fn remaining(until: Timestamp) -> i64 {
    (until.millis() - Timestamp::now().millis()).max(1)
}

#[async_trait]
impl SessionStore for RedisSharedStore {
    async fn generation(&self, user_id: UserId) -> Result<Option<Generation>, StoreError> {
        let found: Option<i64> = self.command("GET", &[&key(user_id, "gen")]).await?;
        Ok(found.map(Generation))
    }

    async fn create_session(
        &self,
        session: &StoredSession,
        generation: Option<Generation>,
        snapshot: &UserSnapshot,
        limit: u32,
    ) -> Result<bool, StoreError> {
        let user_id = session.user_id;
        let keys = [
            key(user_id, "gen"),
            key(user_id, "snapshot"),
            key(user_id, "index"),
            session_key(user_id, session.session_id),
        ];
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
        let texts = self.session_reads.read((user_id, session_id)).await.map_err(|source| self.unavailable(source))?;
        let [Some(generation), Some(snapshot), Some(session)] = texts.each_ref().map(Value::as_bytes_str) else {
            return Ok(None);
        };
        let live = codec::decode_live(user_id, [&generation, &snapshot, &session], now);
        let Some((mut session, snapshot)) = live.map_err(|source| self.corrupt("session", source))? else {
            return Ok(None);
        };
        if session.slid(idle, now).is_some() {
            // In a box, as it is large and seldom needed.
            match Box::pin(self.slide(&session, idle, now)).await {
                Ok(Some(idle_ends)) => session.idle_expires_at = Timestamp::from_millis(idle_ends),
                Ok(None) => return Ok(None),
                // The session is alive all the same; it slides when it is used again.
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a session was not prolonged"),
            }
        }
        Ok(Some((session, snapshot)))
    }

    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<StoredSession>, StoreError> {
        let keys = vec![key(user_id, "gen"), key(user_id, "index")];
        let arguments = vec![now.millis().to_string(), key(user_id, "session:")];
        let texts: Vec<String> = self.run(&self.scripts.list_sessions, keys, arguments).await?;
        let decode = |text: &String| codec::decode(user_id, text).map(|(_, session)| session);
        texts.iter().map(decode).collect::<Result<_, _>>().map_err(|source| self.corrupt("session", source))
    }

    async fn end_session(&self, user_id: UserId, session_id: SessionId) -> Result<bool, StoreError> {
        let keys = vec![key(user_id, "gen"), key(user_id, "index"), session_key(user_id, session_id)];
        self.run_kept(&self.scripts.end_session, keys, vec![session_id.to_string()]).await
    }

    async fn raise_generation(
        &self,
        user_id: UserId,
        keep: Option<SessionId>,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let generation = key(user_id, "gen");
        let kept = keep.map_or_else(|| generation.clone(), |session_id| session_key(user_id, session_id));
        let arguments = vec![random_generation(), remaining(keep_until)];
        self.run_kept(&self.scripts.raise_generation, vec![generation, kept], arguments).await
    }

    async fn forget_user(&self, user_id: UserId, keep_until: Timestamp) -> Result<(), StoreError> {
        let keys = vec![key(user_id, "gen"), key(user_id, "snapshot"), key(user_id, "index")];
        let arguments = vec![
            random_generation().to_string(),
            remaining(keep_until).to_string(),
            key(user_id, "session:"),
            i64::MAX.to_string(),
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
        self.run_kept(&self.scripts.put_snapshot, vec![key(user_id, "gen"), key(user_id, "snapshot")], arguments).await
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
