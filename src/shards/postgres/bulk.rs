//! Import and export. What is there already is looked up first, so that the rest can go in by `COPY`; when someone else is
//! faster in between, the transaction fails as a whole and is made again.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use sqlx::{Postgres, Row, Transaction};
use uuid::Uuid;

use super::{PgShard, claims, copy::Rows, users};
use crate::{
    shards::{
        BulkStore,
        store::{Claim, StoredClaim},
    },
    store_error::StoreError,
    users::{User, UserId},
};

/// How often a transaction is made again when others insert the same rows.
const ATTEMPTS: usize = 8;

/// PostgreSQL's code for a row that is there already.
const UNIQUE_VIOLATION: &str = "23505";

impl PgShard {
    /// A transaction in which the epoch can't rise, and its beginning by the server's clock.
    async fn begin_at(&self, epoch: i64) -> Result<(Transaction<'static, Postgres>, String), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let fence = sqlx::query_scalar("SELECT clock_timestamp()::text FROM symbolon_fence($1)").bind(epoch);
        let now = fence.fetch_one(&mut *transaction).await?;
        Ok((transaction, now))
    }

    async fn insert_missing_users(&self, epoch: i64, users: &[User]) -> Result<Vec<UserId>, sqlx::Error> {
        let (mut transaction, _) = self.begin_at(epoch).await?;
        let there: HashSet<Uuid> = sqlx::query_scalar("SELECT user_id FROM users WHERE user_id = ANY($1)")
            .bind(uuids(users.iter().map(|user| user.user_id)))
            .fetch_all(&mut *transaction)
            .await?
            .into_iter()
            .collect();
        let mut rows = Rows::default();
        for user in users.iter().filter(|user| !there.contains(&user.user_id.uuid())) {
            users::push(&mut rows, epoch, user);
        }
        rows.copy(&mut transaction, users::COPY).await?;
        transaction.commit().await?;
        Ok(there.into_iter().map(|id| UserId::from_bytes(id.into_bytes())).collect())
    }

    async fn claim_free_names(&self, epoch: i64, wanted: &[Claim]) -> Result<Vec<StoredClaim>, sqlx::Error> {
        let (mut transaction, now) = self.begin_at(epoch).await?;
        let names: Vec<&str> = wanted.iter().map(|claim| claim.login_name.as_str()).collect();
        let there = claims::find_any(&names).fetch_all(&mut *transaction).await?;
        let there = there
            .iter()
            .map(|row| Ok((row.try_get::<String, _>("login_name")?, row)))
            .collect::<Result<HashMap<_, _>, sqlx::Error>>()?;
        let (mut rows, mut held) = (Rows::default(), Vec::new());
        for claim in wanted {
            match there.get(claim.login_name.as_str()) {
                Some(row) => held.push(claims::decode(&claim.login_name, row)?),
                None => claims::push(&mut rows, epoch, &now, claim),
            }
        }
        rows.copy(&mut transaction, claims::COPY).await?;
        transaction.commit().await?;
        Ok(held)
    }

    /// Makes a transaction until nobody else inserts the same rows meanwhile.
    async fn insert_many<T, F>(&self, epoch: i64, transaction: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.guarded(transaction()).await? {
                Ok(done) => return Ok(done),
                Err(sqlx::Error::Database(error))
                    if error.code().as_deref() == Some(UNIQUE_VIOLATION) && attempt < ATTEMPTS => {}
                Err(error) => return Err(self.insert_error(epoch, error)),
            }
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
        let rows = self.run(users::find_any(ids).fetch_all(&self.pool)).await?;
        self.decode_users(&rows)
    }

    async fn list_users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
        let rows = self.run(users::list(after, limit).fetch_all(&self.pool)).await?;
        self.decode_users(&rows)
    }

    async fn insert_users(&self, epoch: i64, users: &[User]) -> Result<Vec<UserId>, StoreError> {
        self.insert_many(epoch, || self.insert_missing_users(epoch, users)).await
    }

    async fn claim_names(&self, epoch: i64, claims: &[Claim]) -> Result<Vec<StoredClaim>, StoreError> {
        self.insert_many(epoch, || self.claim_free_names(epoch, claims)).await
    }
}
