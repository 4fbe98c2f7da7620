//! Session and reset tokens, and their digests.
//!
//! A token is `sym_` + base64url(user id, 16 bytes ‖ secret, 32 random bytes). The store holds SHA-256 of the secret, never
//! the secret, so a stolen store gives access to no session. The user id locates a session without an index across users.
//! A reset token has the same form and the prefix `symr_`, so that neither is accepted as the other.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::{model::UserId, secret};

const SESSION: &str = "sym_";
const RESET: &str = "symr_";

/// A secret tied to a user. Its text is shown only when it is issued. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    user_id: UserId,
    secret: [u8; 32],
    prefix: &'static str,
}

/// SHA-256 of a token's secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

/// The public id of a session: the first 16 bytes of its token's digest, as 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 16]);

impl Token {
    pub fn for_session(user_id: UserId) -> Self {
        Self { user_id, secret: secret::random(), prefix: SESSION }
    }

    pub fn for_reset(user_id: UserId) -> Self {
        Self { user_id, secret: secret::random(), prefix: RESET }
    }

    /// Parses a session token. Returns `None` if the text is malformed.
    pub fn parse_session(text: &str) -> Option<Self> {
        Self::parse(text, SESSION)
    }

    /// Parses a reset token. Returns `None` if the text is malformed.
    pub fn parse_reset(text: &str) -> Option<Self> {
        Self::parse(text, RESET)
    }

    fn parse(text: &str, prefix: &'static str) -> Option<Self> {
        let bytes: [u8; 48] = secret::decode(text.strip_prefix(prefix)?)?;
        let (user_id, secret) = bytes.split_at(16);
        Some(Self { user_id: UserId::from_bytes(user_id.try_into().ok()?), secret: secret.try_into().ok()?, prefix })
    }

    /// Returns the user that the token claims to belong to. It is not verified.
    pub fn user_id(&self) -> UserId {
        self.user_id
    }

    pub fn digest(&self) -> TokenDigest {
        TokenDigest(secret::digest(&self.secret))
    }

    /// Returns the token's text.
    pub fn reveal(&self) -> String {
        format!("{}{}", self.prefix, secret::encode(&[self.user_id.as_bytes().as_slice(), &self.secret].concat()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

impl TokenDigest {
    /// Wraps a stored digest.
    pub(crate) fn from_store(bytes: &[u8]) -> Result<Self, String> {
        bytes.try_into().map(Self).map_err(|_| format!("{} bytes instead of 32", bytes.len()))
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub fn session_id(&self) -> SessionId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.0[..16]);
        SessionId(id)
    }

    /// Compares two digests in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        secret::constant_time_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        const_hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a session id is 32 lower-case hexadecimal digits")]
pub struct InvalidSessionId;

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The decoder accepts other spellings, such as a `0x` prefix.
        if text.bytes().any(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(InvalidSessionId);
        }
        let mut id = [0; 16];
        const_hex::decode_to_slice(text, &mut id).map_err(|_| InvalidSessionId)?;
        Ok(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_round_trips_through_its_text() {
        let token = Token::for_session(UserId::generate());
        let text = token.reveal();
        assert_eq!(text.len(), "sym_".len() + 64);
        assert_eq!(Token::parse_session(&text), Some(token));
    }

    #[test]
    fn changing_any_byte_gives_another_token_or_none() {
        let token = Token::for_session(UserId::generate());
        let text = token.reveal();
        for at in 0..text.len() {
            let mut mangled = text.clone().into_bytes();
            mangled[at] ^= 1;
            let parsed = std::str::from_utf8(&mangled).ok().and_then(Token::parse_session);
            assert!(parsed.is_none_or(|parsed| parsed != token), "byte {at}");
        }
        for wrong in ["", "sym_", &text[..67], &format!("{text}A"), &format!("{text}="), &text[4..]] {
            assert_eq!(Token::parse_session(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn session_and_reset_tokens_are_not_interchangeable() {
        let reset = Token::for_reset(UserId::generate()).reveal();
        assert_eq!(Token::parse_session(&reset), None);
        assert_eq!(Token::parse_reset(&Token::for_session(UserId::generate()).reveal()), None);
    }

    #[test]
    fn a_session_id_has_one_spelling() {
        let id = Token::for_session(UserId::generate()).digest().session_id();
        let text = id.to_string();
        assert_eq!(text.parse::<SessionId>().ok(), Some(id));
        let digits = &text[2..];
        for wrong in [format!("0x{text}"), format!("0x{digits}"), format!("Ab{digits}"), text[1..].to_owned()] {
            assert!(wrong.parse::<SessionId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let token = Token::for_session(UserId::generate());
        let shown = format!("{token:?} {:?}", token.digest());
        assert!(!shown.contains(&token.reveal()[30..]));
        assert!(!shown.contains(&const_hex::encode(token.digest().as_bytes())));
    }
}
