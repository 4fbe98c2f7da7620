//! Pending revocations.

use sqlx::{Sqlite, query::Query, sqlite::SqliteArguments};
use uuid::Uuid;

use super::SqliteSharedStore;
use crate::{
    clock::Timestamp,
    model::UserId,
    shared_store::{MAX_REVOCATION_LIFETIME, RevocationSelector, RevocationStep},
    sqlite::Durability,
    store_error::StoreError,
};

pub(super) const REAP: &str = "DELETE FROM revocations WHERE (user_id, revocation_id) IN \
    (SELECT user_id, revocation_id FROM revocations WHERE expires_at <= ? LIMIT ?)";

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Returns the statement that records a step of a revocation, if there is one.
pub(super) fn record<'q>(user_id: UserId, step: RevocationStep) -> Option<Statement<'q>> {
    match step {
        RevocationStep::Only => None,
        RevocationStep::First { id, lifetime } => Some(
            sqlx::query("INSERT OR REPLACE INTO revocations (user_id, revocation_id, expires_at) VALUES (?, ?, ?)")
                .bind(user_id.to_string())
                .bind(id.to_string())
                .bind((Timestamp::now() + lifetime).millis()),
        ),
        RevocationStep::Second { id } => Some(remove(user_id, id)),
    }
}

/// Returns the statement that removes the selected revocations.
pub(super) fn remove_selected<'q>(user_id: UserId, which: RevocationSelector) -> Statement<'q> {
    match which {
        RevocationSelector::One(id) => remove(user_id, id),
        RevocationSelector::ExpiredBy(moment) => {
            sqlx::query("DELETE FROM revocations WHERE user_id = ? AND expires_at <= ?")
                .bind(user_id.to_string())
                .bind(moment.millis())
        }
    }
}

pub(super) fn remove<'q>(user_id: UserId, id: Uuid) -> Statement<'q> {
    sqlx::query("DELETE FROM revocations WHERE user_id = ? AND revocation_id = ?")
        .bind(user_id.to_string())
        .bind(id.to_string())
}

impl SqliteSharedStore {
    /// Makes revocations of a user that exceed the maximum lifetime expire at `now`. Returns the last expiry of all.
    pub(super) async fn expire_overlong_revocations(
        &self,
        user_id: UserId,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut write = self.database.write(Durability::Relaxed).await?;
        sqlx::query("UPDATE revocations SET expires_at = ? WHERE user_id = ? AND expires_at > ?")
            .bind(now.millis())
            .bind(user_id.to_string())
            .bind((now + MAX_REVOCATION_LIFETIME).millis())
            .execute(&mut **write)
            .await
            .map_err(self.failed())?;
        let last: Option<i64> = sqlx::query_scalar("SELECT max(expires_at) FROM revocations WHERE user_id = ?")
            .bind(user_id.to_string())
            .fetch_one(&mut **write)
            .await
            .map_err(self.failed())?;
        write.commit().await?;
        Ok(last.map(Timestamp::from_millis))
    }
}
