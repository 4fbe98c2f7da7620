//! Import and export. What is there already is looked up first, so that the rest can go in by `COPY`; when someone else is
//! faster in between, the transaction fails as a whole and is made again.

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

/// How often a transaction is made again when others insert the same rows.
const ATTEMPTS: usize = 8;

/// PostgreSQL's codes for a row that is there already, and for two transactions that wait for each other's rows.
const OVERTAKEN: [&str; 2] = ["23505", "40P01"];

/// A transaction in which the epoch can't rise, and its beginning by the server's clock.
async fn begin_at(
    connection: &mut PgConnection,
    epoch: i64,
) -> Result<(Transaction<'_, Postgres>, String), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // While this is under way the epoch can't rise: nobody waits for that longer than a second.
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
    let (mut transaction, _) = begin_at(connection, epoch).await?;
    let there: HashSet<Uuid> = sqlx::query_scalar("SELECT user_id FROM users WHERE user_id = ANY($1)")
        .bind(uuids(users.iter().map(|user| user.user_id)))
        .fetch_all(&mut *transaction)
        .await?
        .into_iter()
        .collect();
    let mut rows = Rows::default();
    let mut missing: Vec<&User> = users.iter().filter(|user| !there.contains(&user.user_id.uuid())).collect();
    // In one order everywhere, or transactions wait for each other.
    missing.sort_unstable_by_key(|user| user.user_id);
    missing.into_iter().for_each(|user| users::push(&mut rows, epoch, user));
    rows.copy(&mut transaction, users::COPY).await?;
    transaction.commit().await?;
    Ok(there.into_iter().map(|id| UserId::from_bytes(id.into_bytes())).collect())
}

async fn claim_free_names(
    connection: &mut PgConnection,
    epoch: i64,
    wanted: &[Claim],
) -> Result<Vec<StoredClaim>, sqlx::Error> {
    let (mut transaction, now) = begin_at(connection, epoch).await?;
    let names: Vec<&str> = wanted.iter().map(|claim| claim.login_name.as_str()).collect();
    let there = claims::find_any(names).fetch_all(&mut *transaction).await?;
    let there = there
        .iter()
        .map(|row| Ok((row.try_get::<String, _>("login_name")?, row)))
        .collect::<Result<HashMap<_, _>, sqlx::Error>>()?;
    let (mut rows, mut held) = (Rows::default(), Vec::new());
    let mut wanted: Vec<&Claim> = wanted.iter().collect();
    wanted.sort_unstable_by_key(|claim| &claim.login_name);
    for claim in wanted {
        match there.get(claim.login_name.as_str()) {
            Some(row) => held.push(claims::decode(row)?),
            None => claims::push(&mut rows, epoch, &now, claim),
        }
    }
    rows.copy(&mut transaction, claims::COPY).await?;
    transaction.commit().await?;
    Ok(held)
}

impl PgShard {
    /// What came of a transaction; `None` if it is to be made again, as someone else inserted the same rows meanwhile.
    fn settle<T>(&self, epoch: i64, attempt: usize, done: Result<T, sqlx::Error>) -> Option<Result<T, StoreError>> {
        match done {
            Ok(done) => Some(Ok(done)),
            Err(sqlx::Error::Database(error))
                if error.code().is_some_and(|code| OVERTAKEN.contains(&code.as_ref())) && attempt < ATTEMPTS =>
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
                self.access.guarded(async |connection| insert_missing_users(connection, epoch, users).await).await?;
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
                self.access.guarded(async |connection| claim_free_names(connection, epoch, claims).await).await?;
            if let Some(settled) = self.settle(epoch, attempt, done) {
                return settled;
            }
        }
    }
}
