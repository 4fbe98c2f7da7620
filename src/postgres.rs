//! Connections to PostgreSQL primaries.
//!
//! Session settings are sent with `SET` after connecting, because PgBouncer rejects or drops them in the startup message. A
//! connection to a standby is rejected: a standby accepts no writes, and its data may lag behind an acknowledged write.

use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Row, postgres::PgConnectOptions};

/// SQLSTATE of a write that the server rejected because it is a standby or the session is read-only.
pub(crate) const READ_ONLY: &str = "25006";

/// Opens connections to a primary, all with the same session settings.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    options: PgConnectOptions,
    setup: String,
}

impl Dialer {
    /// Creates a dialer whose connections have `settings` and the isolation level that all statements rely on.
    pub(crate) fn new(options: PgConnectOptions, name: &str, settings: &[(&str, String)]) -> Self {
        // PgBouncer does not know extra_float_digits, and no floating-point numbers are read.
        let options = options.application_name(name).extra_float_digits(None);
        let isolation = [("default_transaction_isolation", "read committed".to_owned())];
        let set = |(name, value): &(&str, String)| format!("SET {name} = '{value}'; ");
        let setup = isolation.iter().chain(settings).map(set).collect::<String>() + "SELECT pg_is_in_recovery()";
        Self { options, setup }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// Returns [`sqlx::Error::Io`] if the server is a standby, or the driver's error.
    pub(crate) async fn dial(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        let rows = sqlx::raw_sql(AssertSqlSafe(self.setup.clone())).fetch_all(&mut connection).await?;
        let is_standby: bool = rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
        if is_standby {
            return Err(sqlx::Error::Io(std::io::Error::other("the server is a standby and accepts no writes")));
        }
        Ok(connection)
    }
}
