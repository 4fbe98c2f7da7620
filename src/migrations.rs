//! Migrations: SQL files in the binary, numbered by their order. A file that was released is never changed; the next one
//! is appended.

use std::borrow::Cow;

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

/// A migration's name and its SQL.
pub type Source = (&'static str, &'static str);

/// Runs `sources` in their order, each once.
pub(crate) fn migrator(sources: &[Source]) -> Migrator {
    let migration = |(version, &(name, sql)): (i64, &Source)| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations((1..).zip(sources).map(migration).collect())
}
