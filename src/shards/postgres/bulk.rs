//! Bulk operations, for import and export.
//!
//! Existing rows are looked up first, and the others are inserted with `COPY`. If another transaction inserts one of them in
//! between, the whole transaction fails and is retried.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use sqlx::{Connection, PgConnection, Postgres, Row, Transaction};
use uuid::Uuid;

use super::{PgShard, claims, copy::Rows, users};
use crate::{
    model::{User, UserId},
    shards::{
        BulkStore,
        store::{Claim, StoredClaim},
    },
    store_error::StoreError,
};

/// Maximum number of attempts when other transactions insert the same rows.
const MAX_ATTEMPTS: usize = 8;

/// SQLSTATEs of a unique violation and of a deadlock.
const RETRYABLE: [&str; 2] = ["23505", "40P01"];

/// Begins a transaction during which the epoch can't rise. Returns it and the time by the server's clock.
async fn begin_at_epoch(
    connection: &mut PgConnection,
    epoch: i64,
) -> Result<(Transaction<'_, Postgres>, String), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // A change of the epoch waits for this transaction; the limit keeps that wait below a second.
    sqlx::query("SET LOCAL statement_timeout = '800ms'").execute(&mut *transaction).await?;
    let fence = sqlx::query_scalar("SELECT clock_timestamp()::text FROM symbolon_fence($1)").bind(epoch);
    let now = fence.fetch_one(&mut *transaction).await?;
    Ok((transaction, now))
}

async fn insert_missing_users(
    connection: &mut PgConnection,
    epoch: i64,
    users: &[User],
) -> Result<Vec<UserId>, sqlx::Error> {
    let (mut transaction, _) = begin_at_epoch(connection, epoch).await?;
    let existing: HashSet<Uuid> = sqlx::query_scalar("SELECT user_id FROM users WHERE user_id = ANY($1)")
        .bind(uuids(users.iter().map(|user| user.user_id)))
        .fetch_all(&mut *transaction)
        .await?
        .into_iter()
        .collect();
    let mut rows = Rows::default();
    let mut missing: Vec<&User> = users.iter().filter(|user| !existing.contains(&user.user_id.uuid())).collect();
    // The same order in all transactions prevents deadlocks.
    missing.sort_unstable_by_key(|user| user.user_id);
    missing.into_iter().for_each(|user| users::push(&mut rows, epoch, user));
    rows.copy(&mut transaction, users::COPY).await?;
    transaction.commit().await?;
    Ok(existing.into_iter().map(|id| UserId::from_bytes(id.into_bytes())).collect())
}

async fn claim_free_names(
    connection: &mut PgConnection,
    epoch: i64,
    wanted: &[Claim],
) -> Result<Vec<StoredClaim>, sqlx::Error> {
    let (mut transaction, now) = begin_at_epoch(connection, epoch).await?;
    let names: Vec<&str> = wanted.iter().map(|claim| claim.login_name.as_str()).collect();
    let existing = claims::find_any(names).fetch_all(&mut *transaction).await?;
    let existing = existing
        .iter()
        .map(|row| Ok((row.try_get::<String, _>("login_name")?, row)))
        .collect::<Result<HashMap<_, _>, sqlx::Error>>()?;
    let (mut rows, mut held) = (Rows::default(), Vec::new());
    let mut wanted: Vec<&Claim> = wanted.iter().collect();
    wanted.sort_unstable_by_key(|claim| &claim.login_name);
    for claim in wanted {
        match existing.get(claim.login_name.as_str()) {
            Some(row) => held.push(claims::decode(row)?),
            None => claims::push(&mut rows, epoch, &now, claim),
        }
    }
    rows.copy(&mut transaction, claims::COPY).await?;
    transaction.commit().await?;
    Ok(held)
}

impl PgShard {
    /// Returns the result of a transaction, or `None` if it conflicted with another one and is to be retried.
    fn settle<T>(&self, epoch: i64, attempt: usize, done: Result<T, sqlx::Error>) -> Option<Result<T, StoreError>> {
        match done {
            Ok(done) => Some(Ok(done)),
            Err(sqlx::Error::Database(error))
                if error.code().is_some_and(|code| RETRYABLE.contains(&code.as_ref())) && attempt < MAX_ATTEMPTS =>
            {
                None
            }
            Err(error) => Some(Err(self.access.insert_error(epoch, error))),
        }
    }
}

fn uuids(user_ids: impl Iterator<Item = UserId>) -> Vec<Uuid> {
    user_ids.map(UserId::uuid).collect()
}

#[async_trait]
impl BulkStore for PgShard {
    async fn find_users(&self, user_ids: &[UserId]) -> Result<Vec<User>, StoreError> {
        let ids = uuids(user_ids.iter().copied());
        let rows = self.access.run(async |connection| users::find_any(ids).fetch_all(connection).await).await?;
        self.decode_users(&rows)
    }

    async fn list_users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        let rows = self.access.run(async |connection| users::list(after, limit).fetch_all(connection).await).await?;
        self.decode_users(&rows)
    }

    async fn insert_users(&self, epoch: i64, users: &[User]) -> Result<Vec<UserId>, StoreError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let done =
                self.access.try_run(async |connection| insert_missing_users(connection, epoch, users).await).await?;
            if let Some(settled) = self.settle(epoch, attempt, done) {
                return settled;
            }
        }
    }

    async fn claim_names(&self, epoch: i64, claims: &[Claim]) -> Result<Vec<StoredClaim>, StoreError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let done =
                self.access.try_run(async |connection| claim_free_names(connection, epoch, claims).await).await?;
            if let Some(settled) = self.settle(epoch, attempt, done) {
                return settled;
            }
        }
    }
}
