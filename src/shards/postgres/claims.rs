//! Statements on `login_names`. Times are those of the server's clock.

use sqlx::{Row, postgres::PgRow};
use symbolon_partitioner::position;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Query, copy::Rows, lookups::Table};
use crate::{
    clock::Timestamp,
    model::{LoginName, UserId, version},
    shards::store::{Claim, StoredClaim},
};

/// Selects live rows that fulfil a condition.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT login_name, user_id, claim_id, claimed_at, clock_timestamp() AS read_at, confirmed ",
            "FROM login_names WHERE state = 'live' AND ",
            $condition
        )
    };
}

/// Unix milliseconds by the server's clock: the minimum of a claim's version.
macro_rules! milliseconds {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

/// Table of claims by login name.
#[derive(Debug)]
pub(super) struct Claims;

impl Table for Claims {
    type Key = LoginName;
    type Row = StoredClaim;
    const NAME: &'static str = "login name";

    fn find(login_name: &LoginName) -> Query<'_> {
        sqlx::query(select!("login_name = $1")).bind(login_name.as_str())
    }

    fn find_any(login_names: &[LoginName]) -> Query<'_> {
        find_any(login_names.iter().map(LoginName::as_str).collect())
    }

    fn key(row: &PgRow) -> Result<LoginName, sqlx::Error> {
        Ok(LoginName::from_store(row.try_get("login_name")?))
    }

    fn decode(row: &PgRow) -> Result<StoredClaim, Box<dyn std::error::Error + Send + Sync>> {
        Ok(decode(row)?)
    }
}

/// Selects the claims on `login_names`.
pub(super) fn find_any(login_names: Vec<&str>) -> Query<'_> {
    sqlx::query(select!("login_name = ANY($1)")).bind(login_names)
}

/// Statement that inserts the rows of [`push`].
pub(super) const COPY: &str = "COPY login_names (login_name, position, state, epoch, version, user_id, claim_id, claimed_at, confirmed) FROM STDIN";

/// Adds a new claim to `rows`. `now` is the time by the server's clock.
pub(super) fn push(rows: &mut Rows, epoch: i64, now: &str, claim: &Claim) {
    let position = Uuid::from_u128(position(claim.login_name.as_str())).to_string();
    let (epoch, user_id, claim_id) = (epoch.to_string(), claim.user_id.to_string(), claim.claim_id.to_string());
    let name = claim.login_name.as_str();
    let version = version::first(Timestamp::now()).to_string();
    rows.push([name, &position, "live", &epoch, &version, &user_id, &claim_id, now, "f"].map(Some));
}

pub(super) fn decode(row: &PgRow) -> Result<StoredClaim, sqlx::Error> {
    Ok(StoredClaim {
        claim: Claim {
            login_name: Claims::key(row)?,
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
        concat!(
            "INSERT INTO login_names (login_name, position, state, epoch, version, user_id, claim_id, claimed_at, confirmed) ",
            "SELECT $1, $2, 'live', $3, ",
            milliseconds!(),
            ", $4, $5, clock_timestamp(), false FROM symbolon_fence($3) ON CONFLICT DO NOTHING"
        ),
    )
    .bind(claim.login_name.as_str())
    .bind(Uuid::from_u128(position(claim.login_name.as_str())))
    .bind(epoch)
    .bind(claim.user_id.uuid())
    .bind(claim.claim_id)
}

pub(super) fn replace(old_claim_id: Uuid, new: &Claim) -> Query<'_> {
    sqlx::query(concat!(
        "UPDATE login_names SET user_id = $3, claim_id = $4, claimed_at = clock_timestamp(), confirmed = false, ",
        "version = greatest(version + 1, ",
        milliseconds!(),
        ") WHERE login_name = $1 AND state = 'live' AND claim_id = $2"
    ))
    .bind(new.login_name.as_str())
    .bind(old_claim_id)
    .bind(new.user_id.uuid())
    .bind(new.claim_id)
}

pub(super) fn confirm(claim: &Claim) -> Query<'_> {
    sqlx::query(concat!(
        "UPDATE login_names SET confirmed = true, version = greatest(version + 1, ",
        milliseconds!(),
        ") WHERE login_name = $1 AND state = 'live' AND claim_id = $2"
    ))
    .bind(claim.login_name.as_str())
    .bind(claim.claim_id)
}

pub(super) fn release(claim: &Claim) -> Query<'_> {
    sqlx::query("DELETE FROM login_names WHERE login_name = $1 AND state = 'live' AND claim_id = $2")
        .bind(claim.login_name.as_str())
        .bind(claim.claim_id)
}
