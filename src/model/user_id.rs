use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A user's id, a UUIDv7. Its text (lower case, hyphenated) is the partition key of the user's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(Uuid);

impl UserId {
    /// Generates an id. Later ids sort after earlier ones.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Creates an id from the 16 bytes in a token.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    pub fn uuid(self) -> Uuid {
        self.0
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Of the formats that the parser accepts, only the hyphenated one has this length.
        let is_hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
        text.parse().ok().filter(|_| is_hyphenated).map(Self).ok_or(InvalidUserId)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a UUID, such as 01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
pub struct InvalidUserId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_hyphenated_uuid_in_any_case() {
        let text = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60";
        let id: UserId = text.parse().expect("an id");
        assert_eq!(id.to_string(), text);
        assert_eq!(text.to_ascii_uppercase().parse(), Ok(id));
        for other in [&text.replace('-', ""), &format!("{{{text}}}"), &format!("urn:uuid:{text}"), &text[1..], ""] {
            assert_eq!(other.parse::<UserId>(), Err(InvalidUserId), "{other}");
        }
    }
}
