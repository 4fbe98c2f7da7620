//! Statements on `login_names`. Times are the server's clock.

use sqlx::{Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Query, copy::Rows};
use crate::{
    partitioner::position,
    shards::store::{Claim, StoredClaim},
    users::{LoginName, UserId},
};

pub(super) fn find(login_name: &LoginName) -> Query<'_> {
    sqlx::query(
        "SELECT user_id, claim_id, claimed_at, clock_timestamp() AS read_at, confirmed \
         FROM login_names WHERE login_name = $1 AND state = 'live'",
    )
    .bind(login_name.as_str())
}

/// The claims on any of these names.
pub(super) fn find_any<'q>(login_names: &'q [&'q str]) -> Query<'q> {
    sqlx::query(
        "SELECT login_name, user_id, claim_id, claimed_at, clock_timestamp() AS read_at, confirmed \
         FROM login_names WHERE login_name = ANY($1) AND state = 'live'",
    )
    .bind(login_names)
}

/// The statement that takes what [`push`] makes.
pub(super) const COPY: &str = "COPY login_names (login_name, position, state, epoch, version, user_id, claim_id, claimed_at, confirmed) FROM STDIN";

/// A new claim as a row; `now` by the server's clock.
pub(super) fn push(rows: &mut Rows, epoch: i64, now: &str, claim: &Claim) {
    let position = Uuid::from_u128(position(claim.login_name.as_str())).to_string();
    let (epoch, user_id, claim_id) = (epoch.to_string(), claim.user_id.to_string(), claim.claim_id.to_string());
    let name = claim.login_name.as_str();
    rows.push([name, &position, "live", &epoch, "1", &user_id, &claim_id, now, "f"].map(Some));
}

pub(super) fn decode(login_name: &LoginName, row: &PgRow) -> Result<StoredClaim, sqlx::Error> {
    Ok(StoredClaim {
        claim: Claim {
            login_name: login_name.clone(),
            user_id: UserId::from_bytes(row.try_get::<Uuid, _>("user_id")?.into_bytes()),
            claim_id: row.try_get("claim_id")?,
        },
        claimed_at: row.try_get::<OffsetDateTime, _>("claimed_at")?.into(),
        read_at: row.try_get::<OffsetDateTime, _>("read_at")?.into(),
        confirmed: row.try_get("confirmed")?,
    })
}

pub(super) fn insert(epoch: i64, claim: &Claim) -> Query<'_> {
    sqlx::query(
        "INSERT INTO login_names (login_name, position, state, epoch, version, user_id, claim_id, claimed_at, confirmed) \
         SELECT $1, $2, 'live', $3, 1, $4, $5, clock_timestamp(), false \
         FROM symbolon_fence($3) ON CONFLICT DO NOTHING",
    )
    .bind(claim.login_name.as_str())
    .bind(Uuid::from_u128(position(claim.login_name.as_str())))
    .bind(epoch)
    .bind(claim.user_id.uuid())
    .bind(claim.claim_id)
}

pub(super) fn replace(old_claim_id: Uuid, new: &Claim) -> Query<'_> {
    sqlx::query(
        "UPDATE login_names SET user_id = $3, claim_id = $4, claimed_at = clock_timestamp(), confirmed = false, \
         version = version + 1 WHERE login_name = $1 AND state = 'live' AND claim_id = $2",
    )
    .bind(new.login_name.as_str())
    .bind(old_claim_id)
    .bind(new.user_id.uuid())
    .bind(new.claim_id)
}

pub(super) fn confirm(claim: &Claim) -> Query<'_> {
    sqlx::query(
        "UPDATE login_names SET confirmed = true, version = version + 1 \
         WHERE login_name = $1 AND state = 'live' AND claim_id = $2",
    )
    .bind(claim.login_name.as_str())
    .bind(claim.claim_id)
}

pub(super) fn release(claim: &Claim) -> Query<'_> {
    sqlx::query("DELETE FROM login_names WHERE login_name = $1 AND state = 'live' AND claim_id = $2")
        .bind(claim.login_name.as_str())
        .bind(claim.claim_id)
}
