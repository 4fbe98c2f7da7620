//! Sessions, generations and snapshots.

use std::{str::FromStr, time::Duration};

use async_trait::async_trait;
use fred::types::Value;

use super::{PREFIX, RedisSharedStore, totals};
use crate::{
    clock::Timestamp,
    secret,
    sessions::{SessionId, TokenDigest},
    shared_store::{Client, Generation, SessionStore, SessionTotals, StoredSession, UserSnapshot},
    store_error::StoreError,
    users::UserId,
};

fn key(user_id: UserId, of: &str) -> String {
    format!("{PREFIX}{{{user_id}}}:{of}")
}

fn session_key(user_id: UserId, session_id: SessionId) -> String {
    format!("{}{session_id}", key(user_id, "session:"))
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

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One field of a script's answer.
fn field<T: FromStr>(value: Option<&Value>, name: &str) -> Result<T, Failure>
where
    T::Err: Into<Failure>,
{
    let text = value.and_then(Value::as_string).ok_or_else(|| format!("no {name}"))?;
    text.parse().map_err(Into::into)
}

/// A session from the fields digest, created, idle end, end, address, user agent.
fn decode(user_id: UserId, values: &[Value]) -> Result<StoredSession, Failure> {
    let time = |at: usize, name| field(values.get(at), name).map(Timestamp::from_millis);
    let optional = |at: usize| values.get(at).and_then(Value::as_string).filter(|text| !text.is_empty());
    let digest: String = field(values.first(), "digest")?;
    let digest = TokenDigest::from_store(hex::decode(digest)?)?;
    Ok(StoredSession {
        session_id: digest.session_id(),
        user_id,
        digest,
        created_at: time(1, "created_at")?,
        idle_expires_at: time(2, "idle_expires_at")?,
        expires_at: time(3, "expires_at")?,
        client: Client { address: optional(4), user_agent: optional(5) },
    })
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
            key(user_id, "snap"),
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
            hex::encode(session.digest.as_bytes()),
            session.created_at.millis().to_string(),
            session.idle_expires_at.millis().to_string(),
            session.expires_at.millis().to_string(),
            session.client.address.clone().unwrap_or_default(),
            session.client.user_agent.clone().unwrap_or_default(),
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
        let keys = vec![key(user_id, "gen"), key(user_id, "snap"), session_key(user_id, session_id)];
        let arguments = vec![now.millis().to_string(), idle.as_millis().to_string()];
        let values: Option<Vec<Value>> = self.run(&self.scripts.use_session, keys, arguments).await?;
        let Some(values) = values.filter(|values| !values.is_empty()) else { return Ok(None) };
        let read = || -> Result<_, Failure> {
            let document: String = field(values.get(7), "snapshot")?;
            let mut snapshot: UserSnapshot = serde_json::from_str(&document)?;
            snapshot.version = field(values.get(6), "version")?;
            Ok((decode(user_id, &values)?, snapshot))
        };
        read().map(Some).map_err(|source| self.corrupt("session", source))
    }

    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<StoredSession>, StoreError> {
        let keys = vec![key(user_id, "gen"), key(user_id, "index")];
        let arguments = vec![now.millis().to_string(), key(user_id, "session:")];
        let values: Vec<Value> = self.run(&self.scripts.list_sessions, keys, arguments).await?;
        let decoded = values.chunks(6).map(|values| decode(user_id, values)).collect::<Result<_, _>>();
        decoded.map_err(|source| self.corrupt("session", source))
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
        let keys = vec![key(user_id, "gen"), key(user_id, "snap"), key(user_id, "index")];
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
        self.run_kept(&self.scripts.put_snapshot, vec![key(user_id, "gen"), key(user_id, "snap")], arguments).await
    }

    async fn session_totals(&self) -> Result<SessionTotals, StoreError> {
        totals::of(&self.nodes).await.map_err(|source| self.unavailable(source))
    }
}
