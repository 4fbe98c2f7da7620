//! Database migrations: SQL files embedded in the binary and numbered by their order. A released file is never changed; new
//! ones are appended.

use std::borrow::Cow;

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

/// Name and SQL of a migration.
pub type Source = (&'static str, &'static str);

/// Returns a migrator that runs each of `sources` once, in order.
pub(crate) fn migrator(sources: &[Source]) -> Migrator {
    let migration = |(version, &(name, sql)): (i64, &Source)| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations((1..).zip(sources).map(migration).collect())
}
