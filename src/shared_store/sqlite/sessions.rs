//! Sessions, generations and snapshots.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Row, sqlite::SqliteRow};
use uuid::Uuid;

use super::{SqliteSharedStore, revocations};
use crate::{
    clock::Timestamp,
    model::{Client, Generation, SessionId, StoredSession, TokenDigest, UserId, UserSnapshot},
    shared_store::{
        Accuracy, LoginStart, MAX_REVOCATION_LIFETIME, PendingRevocation, RevocationSelector, RevocationStep,
        SessionStore, SessionTotals, log_extension_failure,
    },
    sqlite::Durability,
    store_error::StoreError,
};

pub(super) const REAP: &str = "DELETE FROM sessions WHERE (user_id, session_id) IN \
    (SELECT user_id, session_id FROM sessions WHERE min(idle_expires_at, expires_at) <= ? LIMIT ?)";

pub(super) const REAP_USERS: &str = "DELETE FROM session_users WHERE user_id IN \
    (SELECT user_id FROM session_users WHERE expires_at <= ? LIMIT ?)";

#[async_trait]
impl SessionStore for SqliteSharedStore {
    async fn begin_login(&self, user_id: UserId) -> Result<LoginStart, StoreError> {
        let (generation, last_expiry): (Option<i64>, Option<i64>) = sqlx::query_as(
            "SELECT (SELECT gen FROM session_users WHERE user_id = ?1), \
             (SELECT max(expires_at) FROM revocations WHERE user_id = ?1)",
        )
        .bind(user_id.to_string())
        .fetch_one(self.database.reader())
        .await
        .map_err(self.failed())?;
        let now = Timestamp::now();
        let mut last_expiry = last_expiry.map(Timestamp::from_millis);
        if last_expiry.is_some_and(|expiry| expiry > now + MAX_REVOCATION_LIFETIME) {
            last_expiry = self.expire_overlong_revocations(user_id, now).await?;
        }
        Ok(LoginStart { generation: generation.map(Generation), revocation: PendingRevocation::at(now, last_expiry) })
    }

    async fn create_session(
        &self,
        session: &StoredSession,
        generation: Option<Generation>,
        snapshot: &UserSnapshot,
        limit: u32,
    ) -> Result<bool, StoreError> {
        let user_id = session.user_id.to_string();
        let mut write = self.database.write(Durability::Full).await?;
        let statement = match generation {
            None => sqlx::query_scalar(
                "INSERT INTO session_users (user_id, gen, expires_at, version, snapshot) \
                 VALUES (?1, random() >> 2, ?2, ?3, ?4) ON CONFLICT DO NOTHING RETURNING gen",
            ),
            Some(_) => sqlx::query_scalar(
                // Version ?6 marks a forgotten user. Its snapshot is replaced: the generation proves that this user was read
                // afterwards.
                "UPDATE session_users SET expires_at = max(expires_at, ?2), \
                 version = iif(?3 > version OR version = ?6, ?3, version), \
                 snapshot = iif(?3 > version OR version = ?6, ?4, snapshot) \
                 WHERE user_id = ?1 AND gen = ?5 RETURNING gen",
            ),
        };
        let mut statement = statement
            .bind(&user_id)
            .bind(session.expires_at.millis())
            .bind(snapshot.version)
            .bind(sqlx::types::Json(snapshot));
        if let Some(generation) = generation {
            statement = statement.bind(generation.0).bind(i64::MAX);
        }
        let current: Option<i64> = statement.fetch_optional(&mut **write).await.map_err(self.failed())?;
        let Some(current) = current else { return Ok(false) };
        sqlx::query(
            "DELETE FROM sessions WHERE user_id = ?1 AND (gen <> ?2 OR min(idle_expires_at, expires_at) <= ?3)",
        )
        .bind(&user_id)
        .bind(current)
        .bind(session.created_at.millis())
        .execute(&mut **write)
        .await
        .map_err(self.failed())?;
        sqlx::query(
            "DELETE FROM sessions WHERE user_id = ?1 AND session_id IN (SELECT session_id FROM sessions \
             WHERE user_id = ?1 ORDER BY created_at DESC, session_id LIMIT -1 OFFSET ?2)",
        )
        .bind(&user_id)
        .bind(i64::from(limit) - 1)
        .execute(&mut **write)
        .await
        .map_err(self.failed())?;
        sqlx::query("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(&user_id)
            .bind(session.session_id.to_string())
            .bind(session.digest.as_bytes().as_slice())
            .bind(current)
            .bind(session.created_at.millis())
            .bind(session.idle_expires_at.millis())
            .bind(session.expires_at.millis())
            .bind(&session.client.address)
            .bind(&session.client.user_agent)
            .execute(&mut **write)
            .await
            .map_err(self.failed())?;
        write.commit().await?;
        Ok(true)
    }

    async fn use_session(
        &self,
        user_id: UserId,
        session_id: SessionId,
        idle: Duration,
        now: Timestamp,
    ) -> Result<Option<(StoredSession, UserSnapshot)>, StoreError> {
        let row = sqlx::query(
            "SELECT sessions.*, version, snapshot FROM sessions JOIN session_users USING (user_id, gen) \
             WHERE user_id = ? AND session_id = ? AND min(idle_expires_at, sessions.expires_at) > ?",
        )
        .bind(user_id.to_string())
        .bind(session_id.to_string())
        .bind(now.millis())
        .fetch_optional(self.database.reader())
        .await
        .map_err(self.failed())?;
        let Some(row) = row else { return Ok(None) };
        let mut session = self.decode(&row)?;
        let mut snapshot: UserSnapshot = serde_json::from_str(row.get("snapshot"))
            .map_err(|source| self.database.corrupt("user snapshot", source))?;
        snapshot.version = row.get("version");
        if let Some(slid) = session.extended_idle_expiry(idle, now) {
            match self.slide(&session, slid).await {
                Ok(()) => session.idle_expires_at = slid,
                // The session is live anyway. The next use extends it.
                Err(error) => log_extension_failure(&error),
            }
        }
        Ok(Some((session, snapshot)))
    }

    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<StoredSession>, StoreError> {
        let rows = sqlx::query(
            "SELECT sessions.* FROM sessions JOIN session_users USING (user_id, gen) \
             WHERE user_id = ? AND min(idle_expires_at, sessions.expires_at) > ? ORDER BY created_at, session_id",
        )
        .bind(user_id.to_string())
        .bind(now.millis())
        .fetch_all(self.database.reader())
        .await
        .map_err(self.failed())?;
        rows.iter().map(|row| self.decode(row)).collect()
    }

    async fn end_session(&self, user_id: UserId, session_id: SessionId) -> Result<bool, StoreError> {
        let mut write = self.database.write(Durability::Full).await?;
        let done = sqlx::query(
            "DELETE FROM sessions WHERE user_id = ?1 AND session_id = ?2 \
             RETURNING gen = (SELECT gen FROM session_users WHERE user_id = ?1)",
        )
        .bind(user_id.to_string())
        .bind(session_id.to_string())
        .fetch_optional(&mut **write)
        .await
        .map_err(self.failed())?;
        write.commit().await?;
        Ok(done.is_some_and(|row| row.get::<Option<bool>, _>(0) == Some(true)))
    }

    async fn raise_generation(
        &self,
        user_id: UserId,
        keep: Option<SessionId>,
        step: RevocationStep,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.database.write(Durability::Full).await?;
        let record = revocations::record(user_id, step);
        if let Some(record) = record {
            record.execute(&mut **write).await.map_err(self.failed())?;
        }
        sqlx::query(
            "INSERT INTO session_users (user_id, gen, expires_at, version, snapshot) VALUES (?, random() >> 2, ?, 0, '{}') \
             ON CONFLICT (user_id) DO UPDATE SET gen = gen + 1, expires_at = max(expires_at, excluded.expires_at)",
        )
        .bind(user_id.to_string())
        .bind(keep_until.millis())
        .execute(&mut **write)
        .await
        .map_err(self.failed())?;
        if let Some(session_id) = keep {
            sqlx::query(
                "UPDATE sessions SET gen = gen + 1 WHERE user_id = ?1 AND session_id = ?2 \
                 AND gen + 1 = (SELECT gen FROM session_users WHERE user_id = ?1)",
            )
            .bind(user_id.to_string())
            .bind(session_id.to_string())
            .execute(&mut **write)
            .await
            .map_err(self.failed())?;
        }
        write.commit().await
    }

    async fn remove_revocations(&self, user_id: UserId, which: RevocationSelector) -> Result<(), StoreError> {
        self.execute_durably(revocations::remove_selected(user_id, which)).await.map(drop)
    }

    async fn forget_user(
        &self,
        user_id: UserId,
        revocation: Option<Uuid>,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.database.write(Durability::Full).await?;
        if let Some(id) = revocation {
            revocations::remove(user_id, id).execute(&mut **write).await.map_err(self.failed())?;
        }
        // No snapshot has a higher version, so none is written after the user was forgotten.
        sqlx::query(
            "INSERT INTO session_users (user_id, gen, expires_at, version, snapshot) VALUES (?1, random() >> 2, ?2, ?3, '{}') \
             ON CONFLICT (user_id) DO UPDATE SET gen = gen + 1, expires_at = ?2, version = ?3, snapshot = '{}'",
        )
        .bind(user_id.to_string())
        .bind(keep_until.millis())
        .bind(i64::MAX)
        .execute(&mut **write)
        .await
        .map_err(self.failed())?;
        sqlx::query("DELETE FROM sessions WHERE user_id = ?")
            .bind(user_id.to_string())
            .execute(&mut **write)
            .await
            .map_err(self.failed())?;
        write.commit().await
    }

    async fn put_snapshot(
        &self,
        user_id: UserId,
        snapshot: &UserSnapshot,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.database.write(Durability::Full).await?;
        sqlx::query(
            "INSERT INTO session_users (user_id, gen, expires_at, version, snapshot) VALUES (?, random() >> 2, ?, ?, ?) \
             ON CONFLICT (user_id) DO UPDATE SET version = excluded.version, snapshot = excluded.snapshot \
             WHERE version < excluded.version",
        )
        .bind(user_id.to_string())
        .bind(keep_until.millis())
        .bind(snapshot.version)
        .bind(sqlx::types::Json(snapshot))
        .execute(&mut **write)
        .await
        .map_err(self.failed())?;
        write.commit().await
    }

    async fn replace_snapshot(&self, user_id: UserId, snapshot: &UserSnapshot) -> Result<bool, StoreError> {
        // Version 0 means a generation without a snapshot.
        let is_older: Option<bool> =
            sqlx::query_scalar("SELECT version BETWEEN 1 AND ? - 1 FROM session_users WHERE user_id = ?")
                .bind(snapshot.version)
                .bind(user_id.to_string())
                .fetch_optional(self.database.reader())
                .await
                .map_err(self.failed())?;
        if is_older != Some(true) {
            return Ok(false);
        }
        let replace = sqlx::query(
            "UPDATE session_users SET version = ?2, snapshot = ?3 WHERE user_id = ?1 AND version BETWEEN 1 AND ?2 - 1",
        );
        let replace = replace.bind(user_id.to_string()).bind(snapshot.version).bind(sqlx::types::Json(snapshot));
        Ok(self.execute_durably(replace).await? > 0)
    }

    async fn session_totals(&self) -> Result<SessionTotals, StoreError> {
        let row = sqlx::query("SELECT sessions, bytes FROM session_totals")
            .fetch_one(self.database.reader())
            .await
            .map_err(self.failed())?;
        let total = |column| u64::try_from(row.get::<i64, _>(column)).unwrap_or(0);
        Ok(SessionTotals { sessions: total("sessions"), bytes: total("bytes"), accuracy: Accuracy::UpperBound })
    }
}

impl SqliteSharedStore {
    /// Extends the idle expiry if the session still exists, so that a logout in between is not undone.
    async fn slide(&self, session: &StoredSession, to: Timestamp) -> Result<(), StoreError> {
        let mut write = self.database.write(Durability::Relaxed).await?;
        sqlx::query(
            "UPDATE sessions SET idle_expires_at = max(idle_expires_at, ?) WHERE user_id = ? AND session_id = ?",
        )
        .bind(to.millis())
        .bind(session.user_id.to_string())
        .bind(session.session_id.to_string())
        .execute(&mut **write)
        .await
        .map_err(self.failed())?;
        write.commit().await
    }

    fn decode(&self, row: &SqliteRow) -> Result<StoredSession, StoreError> {
        let read = || -> Result<StoredSession, Box<dyn std::error::Error + Send + Sync>> {
            Ok(StoredSession {
                session_id: row.try_get::<&str, _>("session_id")?.parse()?,
                user_id: row.try_get::<&str, _>("user_id")?.parse()?,
                digest: TokenDigest::from_store(row.try_get("digest")?)?,
                created_at: Timestamp::from_millis(row.try_get("created_at")?),
                idle_expires_at: Timestamp::from_millis(row.try_get("idle_expires_at")?),
                expires_at: Timestamp::from_millis(row.try_get("expires_at")?),
                client: Client { address: row.try_get("address")?, user_agent: row.try_get("user_agent")? },
            })
        };
        read().map_err(|source| self.database.corrupt("session", source))
    }
}
