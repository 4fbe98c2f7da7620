//! Sessions, generations and snapshots.

use std::time::Duration;

use async_trait::async_trait;

use super::{PREFIX, RedisSharedStore, session_reads::Texts, totals};
use crate::{
    clock::Timestamp,
    secret,
    sessions::{SessionId, TokenDigest},
    shared_store::{Client, Generation, SessionStore, SessionTotals, StoredSession, UserSnapshot},
    store_error::StoreError,
    users::UserId,
};

pub(super) fn key(user_id: UserId, of: &str) -> String {
    format!("{PREFIX}{{{user_id}}}:{of}")
}

pub(super) fn session_key(user_id: UserId, session_id: SessionId) -> String {
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

/// What stands for an address that is not known.
const UNKNOWN: &str = "-";

/// What never changes of a session, and comes behind its generation, idle end and end.
fn encode_rest(session: &StoredSession) -> String {
    let digest = hex::encode(session.digest.as_bytes());
    let address = session.client.address.as_deref().unwrap_or(UNKNOWN);
    let user_agent = session.client.user_agent.as_deref().unwrap_or_default();
    format!("{} {digest} {address} {user_agent}", session.created_at.millis())
}

/// A session and the generation that it was made under.
fn decode(user_id: UserId, text: &str) -> Result<(&str, StoredSession), Failure> {
    let mut fields = text.splitn(7, ' ');
    let mut field = |name: &str| fields.next().ok_or_else(|| format!("no {name}"));
    let time = |text: &str| text.parse().map(Timestamp::from_millis);
    let generation = field("generation")?;
    let (idle_ends, ends, created) = (field("idle end")?, field("end")?, field("creation")?);
    let (digest, address, user_agent) = (field("digest")?, field("address")?, field("user agent")?);
    let mut bytes = [0; 32];
    hex::decode_to_slice(digest, &mut bytes)?;
    let digest = TokenDigest::from_store(&bytes)?;
    let known = |text: &str, unknown| (text != unknown).then(|| text.to_owned());
    let session = StoredSession {
        session_id: digest.session_id(),
        user_id,
        digest,
        created_at: time(created)?,
        idle_expires_at: time(idle_ends)?,
        expires_at: time(ends)?,
        client: Client { address: known(address, UNKNOWN), user_agent: known(user_agent, "") },
    };
    Ok((generation, session))
}

fn decode_snapshot(text: &str) -> Result<UserSnapshot, Failure> {
    let (version, document) = text.split_once(' ').ok_or("no version")?;
    let mut snapshot: UserSnapshot = serde_json::from_str(document)?;
    snapshot.version = version.parse()?;
    Ok(snapshot)
}

/// A session that is alive at `now` by what there is of it, and its user.
fn decode_live(
    user_id: UserId,
    [generation, snapshot, session]: &Texts,
    now: Timestamp,
) -> Result<Option<(StoredSession, UserSnapshot)>, Failure> {
    let texts = generation.as_bytes_str().zip(snapshot.as_bytes_str()).zip(session.as_bytes_str());
    let Some(((current, snapshot), session)) = texts else { return Ok(None) };
    let (generation, session) = decode(user_id, &session)?;
    if generation != &*current || session.idle_expires_at <= now || session.expires_at <= now {
        return Ok(None);
    }
    Ok(Some((session, decode_snapshot(&snapshot)?)))
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
            encode_rest(session),
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
        let live = decode_live(user_id, &texts, now).map_err(|source| self.corrupt("session", source))?;
        let Some((mut session, snapshot)) = live else { return Ok(None) };
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
        let decode = |text: &String| decode(user_id, text).map(|(_, session)| session);
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
