//! URLs of stores. They may hold passwords, so `Debug` hides them, and may name environment variables.

use std::{fmt, net::IpAddr};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::SettingValue;
use crate::shared_store::redis::RedisAddress;

/// The URL of a PostgreSQL database; hidden from `Debug`, because it may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PgUrl(String);

impl PgUrl {
    pub fn options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        self.0.parse()
    }

    /// Returns whether a connection to another host may be in clear text, because the URL does not require TLS and a server or
    /// an attacker in between can refuse it.
    pub fn is_unprotected(&self) -> bool {
        let Ok(options) = self.options() else { return false };
        let host = options.get_host();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let local = options.get_socket().is_some()
            || host.starts_with('/')
            || host == "localhost"
            || address.is_ok_and(|address| address.is_loopback());
        let query = self.0.split_once('?').map_or("", |(_, query)| query);
        let chosen =
            form_urlencoded::parse(query.as_bytes()).any(|(key, _)| ["sslmode", "ssl-mode"].contains(&key.as_ref()));
        // The mode is another one where PGSSLMODE says so.
        !local && !chosen && matches!(options.get_ssl_mode(), PgSslMode::Prefer)
    }
}

impl fmt::Debug for PgUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgUrl(..)")
    }
}

impl SettingValue for PgUrl {
    const SECRET: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        let text = with_environment(text)?;
        let is_postgres = text.starts_with("postgres://") || text.starts_with("postgresql://");
        let url = Self(text);
        if is_postgres && url.options().is_ok() {
            Ok(url)
        } else {
            Err("must be a URL such as postgres://user@host/database".into())
        }
    }
}

/// Replaces each `${NAME}` by the environment variable's value, so that a file need not hold a password.
fn with_environment(text: &str) -> Result<String, String> {
    with_variables(text, |name| std::env::var(name).ok())
}

fn with_variables(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut pieces = text.split("${");
    let mut expanded = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once('}').ok_or("has ${ without }")?;
        // What is no name may be a part of a password, and is not shown.
        if name.is_empty() || !name.chars().all(is_of_name) {
            return Err("has ${} around what is no name of an environment variable".into());
        }
        expanded += &value(name).ok_or_else(|| format!("names the environment variable {name}, which is not set"))?;
        expanded += rest;
    }
    Ok(expanded)
}

/// Returns whether names of shards and variables may contain this character.
pub(super) fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

/// The URL of Redis; hidden from `Debug`, because it may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn has_tls(&self) -> bool {
        RedisAddress::parse(&self.0).is_ok_and(|address| address.has_tls())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(..)")
    }
}

impl SettingValue for RedisUrl {
    const SECRET: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        let text = with_environment(text)?;
        match RedisAddress::parse(&text) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_into_urls() {
        let value = |name: &str| (name == "SECRET").then(|| "p4ss".to_owned());
        assert_eq!(with_variables("a:${SECRET}@b", value).as_deref(), Ok("a:p4ss@b"));
        assert_eq!(with_variables("no variable", value).as_deref(), Ok("no variable"));
        assert!(with_variables("${OTHER}", value).expect_err("a refusal").contains("OTHER"));
        assert!(with_variables("${SECRET", value).is_err());
        let refused = with_variables("postgres://u:p4ss${w@rd@h/d}", value).expect_err("a refusal");
        assert!(!refused.contains("w@rd"), "{refused}");
    }

    #[test]
    fn a_url_to_elsewhere_that_does_not_speak_of_tls_is_unprotected() {
        let is_unprotected = |url: &str| PgUrl::from_text(url).expect("a URL").is_unprotected();
        for url in
            ["postgres://u@db.example/d", "postgres://u@10.0.0.7/d?application_name=x", "postgres://u@[fd00::1]/d"]
        {
            assert!(is_unprotected(url), "{url}");
        }
        for url in [
            "postgres://u@db.example/d?sslmode=verify-full",
            "postgres://u@db.example/d?ssl-mode=verify-ca",
            "postgres://u@db.example/d?application_name=x&sslmode=prefer",
            "postgres://u@127.0.0.1:5433/d",
            "postgres://u@localhost/d",
            "postgres://u@[::1]/d",
            "postgres:///d?host=/run/postgresql",
        ] {
            assert!(!is_unprotected(url), "{url}");
        }
    }
}
