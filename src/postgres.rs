//! Connections with PostgreSQL servers.
//!
//! The settings of a session are sent by `SET` after dialling, because PgBouncer refuses them in the startup message or drops
//! them. A standby is refused there and then: what it shows may be behind an acknowledged write, and it takes none.

use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Row, postgres::PgConnectOptions};

/// SQLSTATE of a write that the server refused because it is a standby, or because the session may only read.
pub(crate) const READ_ONLY: &str = "25006";

/// Makes connections with a primary, each with the same settings.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    options: PgConnectOptions,
    setup: String,
}

impl Dialer {
    /// Connections for which `settings` hold, besides the isolation level that every statement here relies on.
    pub(crate) fn new(options: PgConnectOptions, name: &str, settings: &[(&str, String)]) -> Self {
        // PgBouncer knows no extra_float_digits, and no floating-point number is read here.
        let options = options.application_name(name).extra_float_digits(None);
        let isolation = [("default_transaction_isolation", "read committed".to_owned())];
        let set = |(name, value): &(&str, String)| format!("SET {name} = '{value}'; ");
        let setup = isolation.iter().chain(settings).map(set).collect::<String>() + "SELECT pg_is_in_recovery()";
        Self { options, setup }
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// [`sqlx::Error::Io`] if the server is a standby, else what the driver says.
    pub(crate) async fn dial(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        let rows = sqlx::raw_sql(AssertSqlSafe(self.setup.clone())).fetch_all(&mut connection).await?;
        let is_standby: bool = rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
        if is_standby {
            return Err(sqlx::Error::Io(std::io::Error::other("the server is a standby, which takes no writes")));
        }
        Ok(connection)
    }
}
