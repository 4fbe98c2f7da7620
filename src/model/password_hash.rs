use std::fmt;

/// A password hash, in PHC format if it was made here; hidden from `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A hash that was computed, or that a store has kept.
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The PHC string.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}
