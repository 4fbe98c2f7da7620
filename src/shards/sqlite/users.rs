//! Statements on `users`.

use sqlx::{FromRow, Row, sqlite::SqliteRow};
use symbolon_partitioner::position;

use super::Query;
use crate::{
    clock::Timestamp,
    model::{InvalidUserId, LoginName, PasswordHash, PasswordReset, Profile, User, UserId},
    sqlite::Database,
    store_error::StoreError,
};

pub(super) async fn find(database: &Database, user_id: UserId) -> Result<Option<User>, StoreError> {
    let row = sqlx::query("SELECT * FROM users WHERE user_id = ? AND state = 'live'")
        .bind(user_id.to_string())
        .fetch_optional(database.reader())
        .await
        .map_err(|source| database.unavailable(source))?;
    row.map(|row| Stored::from_row(&row).map(|stored| stored.0))
        .transpose()
        .map_err(|source| database.corrupt("user", source))
}

pub(super) async fn find_any(database: &Database, user_ids: &[UserId]) -> Result<Vec<User>, StoreError> {
    let ids = sqlx::types::Json(user_ids.iter().map(UserId::to_string).collect::<Vec<_>>());
    let query = sqlx::query("SELECT * FROM users WHERE user_id IN (SELECT value FROM json_each(?)) AND state = 'live'");
    decode_all(database, query.bind(ids).fetch_all(database.reader()).await)
}

pub(super) async fn list(database: &Database, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError> {
    // Every id sorts after the empty string.
    let after = after.map_or_else(String::new, |id| id.to_string());
    let query = sqlx::query("SELECT * FROM users WHERE user_id > ? AND state = 'live' ORDER BY user_id LIMIT ?");
    decode_all(database, query.bind(after).bind(limit).fetch_all(database.reader()).await)
}

fn decode_all(database: &Database, rows: Result<Vec<SqliteRow>, sqlx::Error>) -> Result<Vec<User>, StoreError> {
    let rows = rows.map_err(|source| database.unavailable(source))?;
    let decoded = rows.iter().map(|row| Stored::from_row(row).map(|stored| stored.0)).collect::<Result<_, _>>();
    decoded.map_err(|source| database.corrupt("user", source))
}

/// Decoded row. Decoding is strict: any other format means that the file is damaged.
struct Stored(User);

impl FromRow<'_, SqliteRow> for Stored {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let decode = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
        let reset = match (row.try_get("reset_hash")?, row.try_get::<Option<i64>, _>("reset_expires_at")?) {
            (Some(digest), Some(expires_at)) => {
                Some(PasswordReset { digest: to_array(digest)?, expires_at: Timestamp::from_millis(expires_at) })
            }
            _ => None,
        };
        Ok(Self(User {
            user_id: row.try_get::<&str, _>("user_id")?.parse().map_err(|error: InvalidUserId| decode(error.into()))?,
            login_name: LoginName::from_store(row.try_get("login_name")?),
            password_hash: PasswordHash::new(row.try_get("password_hash")?),
            profile: Profile { name: row.try_get("name")?, email: row.try_get("email")? },
            preferences: serde_json::from_str(row.try_get("preferences")?).map_err(|error| decode(error.into()))?,
            permissions: serde_json::from_str(row.try_get("permissions")?).map_err(|error| decode(error.into()))?,
            suspended: row.try_get("suspended")?,
            idempotency_hash: row.try_get::<Option<Vec<u8>>, _>("idempotency_hash")?.map(to_array).transpose()?,
            reset,
            version: row.try_get("version")?,
            created_at: Timestamp::from_millis(row.try_get("created_at")?),
            updated_at: Timestamp::from_millis(row.try_get("updated_at")?),
        }))
    }
}

fn to_array(bytes: Vec<u8>) -> Result<[u8; 32], sqlx::Error> {
    bytes
        .try_into()
        .map_err(|bytes: Vec<u8>| sqlx::Error::Decode(format!("{} bytes instead of 32", bytes.len()).into()))
}

pub(super) fn insert(epoch: i64, user: &User) -> Query<'_> {
    let query = sqlx::query(
        "INSERT INTO users (position, state, epoch, created_at, login_name, password_hash, name, email, preferences, \
         permissions, suspended, idempotency_hash, reset_hash, reset_expires_at, version, updated_at, user_id) \
         VALUES (?, 'live', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(position_of(user.user_id))
    .bind(epoch)
    .bind(user.created_at.millis());
    bind_mutable(query, user)
}

pub(super) fn update(user: &User, expected: i64) -> Query<'_> {
    let query = sqlx::query(
        "UPDATE users SET login_name = ?, password_hash = ?, name = ?, email = ?, preferences = ?, permissions = ?, \
         suspended = ?, idempotency_hash = ?, reset_hash = ?, reset_expires_at = ?, version = ?, updated_at = ? \
         WHERE user_id = ? AND state = 'live' AND version = ?",
    );
    bind_mutable(query, user).bind(expected)
}

/// Binds the columns that an update may change, in the order of both statements, and the id.
fn bind_mutable<'q>(query: Query<'q>, user: &'q User) -> Query<'q> {
    query
        .bind(user.login_name.as_str())
        .bind(user.password_hash.as_str())
        .bind(&user.profile.name)
        .bind(&user.profile.email)
        .bind(sqlx::types::Json(&user.preferences))
        .bind(sqlx::types::Json(user.permissions))
        .bind(user.suspended)
        .bind(user.idempotency_hash.as_ref().map(|hash| hash.as_slice()))
        .bind(user.reset.as_ref().map(|reset| reset.digest.as_slice()))
        .bind(user.reset.as_ref().map(|reset| reset.expires_at.millis()))
        .bind(user.version)
        .bind(user.updated_at.millis())
        .bind(user.user_id.to_string())
}

pub(super) fn rehash<'q>(user_id: UserId, old: &'q PasswordHash, new: &'q PasswordHash) -> Query<'q> {
    sqlx::query("UPDATE users SET password_hash = ? WHERE user_id = ? AND state = 'live' AND password_hash = ?")
        .bind(new.as_str())
        .bind(user_id.to_string())
        .bind(old.as_str())
}

pub(super) fn delete<'q>(user_id: UserId, version: i64) -> Query<'q> {
    sqlx::query("DELETE FROM users WHERE user_id = ? AND state = 'live' AND version = ?")
        .bind(user_id.to_string())
        .bind(version)
}

pub(super) fn void<'q>(epoch: i64, user_id: UserId) -> Query<'q> {
    sqlx::query(
        "INSERT INTO users (user_id, position, state, epoch, version, login_name, password_hash, name, email, \
         preferences, permissions, suspended, created_at, updated_at) \
         VALUES (?, ?, 'void', ?, 0, '', '', '', '', '{}', '[]', 0, ?, 0) ON CONFLICT DO NOTHING",
    )
    .bind(user_id.to_string())
    .bind(position_of(user_id))
    .bind(epoch)
    .bind(Timestamp::now().millis())
}

pub(super) fn raise_version<'q>(user_id: UserId, expected: i64, version: i64) -> Query<'q> {
    sqlx::query("UPDATE users SET version = ? WHERE user_id = ? AND state = 'live' AND version = ?")
        .bind(version)
        .bind(user_id.to_string())
        .bind(expected)
}

fn position_of(user_id: UserId) -> Vec<u8> {
    position(&user_id.to_string()).to_be_bytes().to_vec()
}
