use std::fmt;

use super::value::{SettingValue, items};
use crate::secret;

/// The fewest characters of an operator token.
const MIN_TOKEN_CHARS: usize = 16;

/// Operator tokens, kept as digests so that printed settings do not show them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OperatorTokens(Vec<[u8; 32]>);

impl OperatorTokens {
    /// Whether none is configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether `token` is one of them, in time that depends only on their number.
    pub fn accept(&self, token: &str) -> bool {
        let digest = secret::digest(token.as_bytes());
        self.0.iter().fold(false, |found, known| found | secret::constant_time_eq(known, &digest))
    }
}

impl fmt::Debug for OperatorTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorTokens({})", self.0.len())
    }
}

impl SettingValue for OperatorTokens {
    const SECRET: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        if items(text).any(|token| token.chars().count() < MIN_TOKEN_CHARS) {
            return Err(format!("every token must have at least {MIN_TOKEN_CHARS} characters"));
        }
        Ok(Self(items(text).map(|token| secret::digest(token.as_bytes())).collect()))
    }
}
