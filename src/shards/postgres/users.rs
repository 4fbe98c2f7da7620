//! Statements on `users`.

use sqlx::{Decode, Postgres, Row, Type, postgres::PgRow};
use symbolon_partitioner::position;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::{Query, copy::Rows, lookups::Table};
use crate::{
    clock::Timestamp,
    model::{LoginName, PasswordHash, PasswordReset, Profile, User, UserId},
};

/// Selects live rows that fulfil a condition. The columns are decoded in this order.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT user_id, login_name, password_hash, name, email, preferences::text, permissions::text, suspended, ",
            "version, created_at, updated_at, idempotency_hash, reset_hash, reset_expires_at ",
            "FROM users WHERE state = 'live' AND ",
            $condition
        )
    };
}

/// Table of users by id.
#[derive(Debug)]
pub(super) struct Users;

/// Reads the columns of a row in order, because finding a column by name takes longer than decoding it.
struct Columns<'r> {
    row: &'r PgRow,
    next: usize,
}

impl<'r> Columns<'r> {
    fn new(row: &'r PgRow) -> Self {
        Self { row, next: 0 }
    }

    fn read<T: Decode<'r, Postgres> + Type<Postgres>>(&mut self) -> Result<T, sqlx::Error> {
        self.next += 1;
        self.row.try_get(self.next - 1)
    }

    fn user_id(&mut self) -> Result<UserId, sqlx::Error> {
        Ok(UserId::from_bytes(self.read::<Uuid>()?.into_bytes()))
    }

    fn time(&mut self) -> Result<Timestamp, sqlx::Error> {
        self.read::<OffsetDateTime>().map(Timestamp::from)
    }
}

impl Table for Users {
    type Key = UserId;
    type Row = User;
    const NAME: &'static str = "user";

    fn find(user_id: &UserId) -> Query<'_> {
        sqlx::query(select!("user_id = $1")).bind(user_id.uuid())
    }

    fn find_any(user_ids: &[UserId]) -> Query<'_> {
        find_any(user_ids.iter().map(|user_id| user_id.uuid()).collect())
    }

    fn key(row: &PgRow) -> Result<UserId, sqlx::Error> {
        Columns::new(row).user_id()
    }

    fn decode(row: &PgRow) -> Result<User, Box<dyn std::error::Error + Send + Sync>> {
        decode(row)
    }
}

pub(super) fn find_any<'q>(user_ids: Vec<Uuid>) -> Query<'q> {
    sqlx::query(select!("user_id = ANY($1)")).bind(user_ids)
}

pub(super) fn list<'q>(after: Option<UserId>, limit: u32) -> Query<'q> {
    let after = after.map_or(Uuid::nil(), UserId::uuid);
    sqlx::query(select!("user_id > $1 ORDER BY user_id LIMIT $2")).bind(after).bind(i64::from(limit))
}

/// Statement that inserts the rows of [`push`].
pub(super) const COPY: &str = "COPY users (user_id, position, state, epoch, version, login_name, password_hash, name, \
    email, preferences, permissions, suspended, created_at, updated_at, idempotency_hash, reset_hash, reset_expires_at) \
    FROM STDIN";

/// Adds a new user to `rows`.
pub(super) fn push(rows: &mut Rows, epoch: i64, user: &User) {
    let moment = |at: Timestamp| OffsetDateTime::from(at).format(&Rfc3339).unwrap_or_else(|_| "infinity".to_owned());
    let bytes = |bytes: &[u8; 32]| format!("\\x{}", const_hex::encode(bytes));
    let required = [
        user.user_id.to_string(),
        position_of(user.user_id).to_string(),
        "live".to_owned(),
        epoch.to_string(),
        user.version.to_string(),
        user.login_name.to_string(),
        user.password_hash.as_str().to_owned(),
        user.profile.name.clone(),
        user.profile.email.clone(),
        user.preferences.as_str().to_owned(),
        permissions(user),
        user.suspended.to_string(),
        moment(user.created_at),
        moment(user.updated_at),
    ];
    let optional = [
        user.idempotency_hash.as_ref().map(bytes),
        user.reset.as_ref().map(|reset| bytes(&reset.digest)),
        user.reset.as_ref().map(|reset| moment(reset.expires_at)),
    ];
    rows.push(required.iter().map(|field| Some(field.as_str())).chain(optional.iter().map(Option::as_deref)));
}

fn permissions(user: &User) -> String {
    serde_json::json!(user.permissions).to_string()
}

/// Decodes a row strictly: any other format means that the row is damaged.
pub(super) fn decode(row: &PgRow) -> Result<User, Box<dyn std::error::Error + Send + Sync>> {
    let mut columns = Columns::new(row);
    let mut user = User {
        user_id: columns.user_id()?,
        login_name: LoginName::from_store(columns.read()?),
        password_hash: PasswordHash::new(columns.read()?),
        profile: Profile { name: columns.read()?, email: columns.read()? },
        preferences: serde_json::from_str(columns.read()?)?,
        permissions: serde_json::from_str(columns.read()?)?,
        suspended: columns.read()?,
        version: columns.read()?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
        idempotency_hash: columns.read::<Option<Vec<u8>>>()?.map(to_array).transpose()?,
        reset: None,
    };
    if let (Some(digest), Some(expires_at)) = (columns.read()?, columns.read::<Option<OffsetDateTime>>()?) {
        user.reset = Some(PasswordReset { digest: to_array(digest)?, expires_at: expires_at.into() });
    }
    Ok(user)
}

fn to_array(bytes: Vec<u8>) -> Result<[u8; 32], String> {
    bytes.try_into().map_err(|bytes: Vec<u8>| format!("{} bytes instead of 32", bytes.len()))
}

pub(super) fn insert(epoch: i64, user: &User) -> Query<'_> {
    let query = sqlx::query(
        "INSERT INTO users (user_id, login_name, password_hash, name, email, preferences, permissions, suspended, \
         idempotency_hash, reset_hash, reset_expires_at, version, updated_at, position, state, epoch, created_at) \
         SELECT $1, $2, $3, $4, $5, $6::text::json, $7::text::json, $8, $9, $10, $11, $12, $13, $14, 'live', $15, $16 \
         FROM symbolon_fence($15) ON CONFLICT DO NOTHING",
    );
    bind_mutable(query, user).bind(position_of(user.user_id)).bind(epoch).bind(OffsetDateTime::from(user.created_at))
}

pub(super) fn update(user: &User, expected: i64) -> Query<'_> {
    let query = sqlx::query(
        "UPDATE users SET login_name = $2, password_hash = $3, name = $4, email = $5, preferences = $6::text::json, \
         permissions = $7::text::json, suspended = $8, idempotency_hash = $9, reset_hash = $10, reset_expires_at = $11, \
         version = $12, updated_at = $13 WHERE user_id = $1 AND state = 'live' AND version = $14",
    );
    bind_mutable(query, user).bind(expected)
}

/// Binds the id and the columns that an update may change, in the order of both statements.
fn bind_mutable<'q>(query: Query<'q>, user: &'q User) -> Query<'q> {
    query
        .bind(user.user_id.uuid())
        .bind(user.login_name.as_str())
        .bind(user.password_hash.as_str())
        .bind(&user.profile.name)
        .bind(&user.profile.email)
        .bind(user.preferences.as_str())
        .bind(permissions(user))
        .bind(user.suspended)
        .bind(user.idempotency_hash.as_ref().map(|hash| hash.as_slice()))
        .bind(user.reset.as_ref().map(|reset| reset.digest.as_slice()))
        .bind(user.reset.as_ref().map(|reset| OffsetDateTime::from(reset.expires_at)))
        .bind(user.version)
        .bind(OffsetDateTime::from(user.updated_at))
}

pub(super) fn rehash<'q>(user_id: UserId, old: &'q PasswordHash, new: &'q PasswordHash) -> Query<'q> {
    sqlx::query("UPDATE users SET password_hash = $3 WHERE user_id = $1 AND state = 'live' AND password_hash = $2")
        .bind(user_id.uuid())
        .bind(old.as_str())
        .bind(new.as_str())
}

pub(super) fn delete<'q>(user_id: UserId, version: i64) -> Query<'q> {
    sqlx::query("DELETE FROM users WHERE user_id = $1 AND state = 'live' AND version = $2")
        .bind(user_id.uuid())
        .bind(version)
}

pub(super) fn void<'q>(epoch: i64, user_id: UserId) -> Query<'q> {
    sqlx::query(
        "INSERT INTO users (user_id, position, state, epoch, version, login_name, password_hash, name, email, \
         preferences, permissions, suspended, created_at, updated_at) \
         SELECT $1, $2, 'void', $3, 0, '', '', '', '', '{}', '[]', false, now(), now() \
         FROM symbolon_fence($3) ON CONFLICT DO NOTHING",
    )
    .bind(user_id.uuid())
    .bind(position_of(user_id))
    .bind(epoch)
}

pub(super) fn raise_version<'q>(user_id: UserId, expected: i64, version: i64) -> Query<'q> {
    sqlx::query("UPDATE users SET version = $3 WHERE user_id = $1 AND state = 'live' AND version = $2")
        .bind(user_id.uuid())
        .bind(expected)
        .bind(version)
}

fn position_of(user_id: UserId) -> Uuid {
    Uuid::from_u128(position(&user_id.to_string()))
}
