//! Statements on `login_names`. Times are those of this machine's clock.

use sqlx::Row;
use symbolon_partitioner::position;
use uuid::Uuid;

use super::Query;
use crate::{
    clock::Timestamp,
    model::LoginName,
    shards::store::{Claim, StoredClaim},
    sqlite::Database,
    store_error::StoreError,
};

pub(super) async fn find(database: &Database, login_name: &LoginName) -> Result<Option<StoredClaim>, StoreError> {
    let row = sqlx::query("SELECT * FROM login_names WHERE login_name = ? AND state = 'live'")
        .bind(login_name.as_str())
        .fetch_optional(database.reader())
        .await
        .map_err(|source| database.unavailable(source))?;
    let Some(row) = row else { return Ok(None) };
    let read = || -> Result<StoredClaim, Box<dyn std::error::Error + Send + Sync>> {
        Ok(StoredClaim {
            claim: Claim {
                login_name: login_name.clone(),
                user_id: row.try_get::<&str, _>("user_id")?.parse()?,
                claim_id: row.try_get::<&str, _>("claim_id")?.parse()?,
            },
            claimed_at: Timestamp::from_millis(row.try_get("claimed_at")?),
            read_at: Timestamp::now(),
            confirmed: row.try_get("confirmed")?,
        })
    };
    read().map(Some).map_err(|source| database.corrupt("login name", source))
}

pub(super) fn insert(epoch: i64, claim: &Claim) -> Query<'_> {
    sqlx::query(
        "INSERT INTO login_names (login_name, position, state, epoch, version, user_id, claim_id, claimed_at, confirmed) \
         VALUES (?1, ?2, 'live', ?3, ?6, ?4, ?5, ?6, 0) ON CONFLICT DO NOTHING",
    )
    .bind(claim.login_name.as_str())
    .bind(position(claim.login_name.as_str()).to_be_bytes().to_vec())
    .bind(epoch)
    .bind(claim.user_id.to_string())
    .bind(claim.claim_id.to_string())
    .bind(Timestamp::now().millis())
}

pub(super) fn replace(old_claim_id: Uuid, new: &Claim) -> Query<'_> {
    sqlx::query(
        "UPDATE login_names SET user_id = ?1, claim_id = ?2, claimed_at = ?3, confirmed = 0, version = max(version + 1, ?3) \
         WHERE login_name = ?4 AND state = 'live' AND claim_id = ?5",
    )
    .bind(new.user_id.to_string())
    .bind(new.claim_id.to_string())
    .bind(Timestamp::now().millis())
    .bind(new.login_name.as_str())
    .bind(old_claim_id.to_string())
}

pub(super) fn confirm(claim: &Claim) -> Query<'_> {
    sqlx::query(
        "UPDATE login_names SET confirmed = 1, version = max(version + 1, ?) \
         WHERE login_name = ? AND state = 'live' AND claim_id = ?",
    )
    .bind(Timestamp::now().millis())
    .bind(claim.login_name.as_str())
    .bind(claim.claim_id.to_string())
}

pub(super) fn release(claim: &Claim) -> Query<'_> {
    sqlx::query("DELETE FROM login_names WHERE login_name = ? AND state = 'live' AND claim_id = ?")
        .bind(claim.login_name.as_str())
        .bind(claim.claim_id.to_string())
}
