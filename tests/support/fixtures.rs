//! Values that the tests share.

use serde_json::{Value, json};
use tempfile::TempDir;

/// The operator token of every process that the tests start.
pub const OPERATOR_TOKEN: &str = "operator-token-of-the-tests";

/// Has an instance generate its operator token, as it does where none is configured.
pub const GENERATED_OPERATOR_TOKEN: (&str, &str) = ("SYMBOLON_OPERATOR_TOKEN", "");

/// Has a process trust `X-Forwarded-For` from every client on this machine.
pub const TRUST_LOOPBACK: (&str, &str) = ("SYMBOLON_TRUSTED_PROXIES", "127.0.0.0/8");

/// The password of every user, unless a test sets another one.
pub const PASSWORD: &str = "correct horse battery";

/// What passwords are changed to.
pub const NEW_PASSWORD: &str = "staple battery horse";

/// An id that no user has.
pub const ABSENT_USER: &str = "00000000-0000-7000-8000-000000000000";

/// The body of a registration.
pub fn registration(login_name: &str) -> Value {
    json!({"login_name": login_name, "password": PASSWORD, "profile": {"name": "Ada", "email": "ada@example.com"}})
}

/// A number in the environment that makes a run longer, or repeats one.
pub fn env_number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

pub fn temporary_directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}
