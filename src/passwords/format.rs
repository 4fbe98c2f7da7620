//! Supported hash formats: argon2 and scrypt as PHC strings, and bcrypt.
//!
//! New hashes are argon2id. Hashes of other formats come from imports and are replaced at the user's next login.

use std::str::FromStr;

use argon2::{Argon2, Params, PasswordVerifier, password_hash::phc};

use super::Password;
use crate::model::PasswordHash;

/// Maximum memory for checking a stored hash, in KiB.
const MAX_MEMORY_KIB: u64 = 256 * 1024;
/// Maximum memory traffic for checking a stored hash, over all passes, in KiB: about a second of one core.
const MAX_WORK_KIB: u64 = 4 * MAX_MEMORY_KIB;
/// Accepted costs of a bcrypt hash, from bcrypt's minimum to about a second of one core.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=14;

/// Why a hash can't be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHash {
    #[error("must be a PHC string of argon2 or scrypt, or a bcrypt hash")]
    Format,
    /// The algorithm is unknown, or its parameters are out of range.
    #[error("has an unsupported algorithm or parameters: use argon2, scrypt or bcrypt")]
    Unsupported,
    #[error("would take more than 256 MiB of memory or a second to check")]
    TooCostly,
}

/// A stored hash, parsed.
pub(super) enum Parsed<'a> {
    /// The user has no password.
    None,
    Argon2(phc::PasswordHash, Params),
    Scrypt(phc::PasswordHash),
    Bcrypt(&'a str),
}

impl PasswordHash {
    /// Accepts a hash from another system.
    ///
    /// # Errors
    /// [`InvalidHash`] if it can't be checked, or not at an acceptable cost.
    pub fn import(text: String) -> Result<Self, InvalidHash> {
        match Parsed::new(&text)? {
            Parsed::None => Err(InvalidHash::Format),
            parsed if parsed.is_too_costly() => Err(InvalidHash::TooCostly),
            _ => Ok(Self::new(text)),
        }
    }

    /// Returns the hash of a user without a password. No password matches it.
    pub fn none() -> Self {
        Self::new(String::new())
    }

    /// Returns the hash as text, or `None` if there is no password.
    pub fn export(&self) -> Option<&str> {
        Some(self.as_str()).filter(|text| !text.is_empty())
    }
}

impl<'a> Parsed<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, InvalidHash> {
        if text.is_empty() {
            return Ok(Self::None);
        }
        if text.starts_with("$2") {
            return bcrypt::HashParts::from_str(text).map(|_| Self::Bcrypt(text)).map_err(|_| InvalidHash::Format);
        }
        let hash = phc::PasswordHash::new(text).map_err(|_| InvalidHash::Format)?;
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err(InvalidHash::Format);
        }
        match hash.algorithm.as_str() {
            "argon2id" | "argon2i" | "argon2d" => match Params::try_from(&hash) {
                Ok(params) => Ok(Self::Argon2(hash, params)),
                Err(_) => Err(InvalidHash::Unsupported),
            },
            "scrypt" => match scrypt::Params::try_from(&hash) {
                Ok(_) => Ok(Self::Scrypt(hash)),
                Err(_) => Err(InvalidHash::Unsupported),
            },
            _ => Err(InvalidHash::Unsupported),
        }
    }

    fn is_too_costly(&self) -> bool {
        let (memory, passes) = match self {
            Self::None => return false,
            Self::Bcrypt(text) => {
                return bcrypt::HashParts::from_str(text)
                    .map_or(true, |parts| !BCRYPT_COSTS.contains(&parts.get_cost()));
            }
            Self::Argon2(_, params) => (u64::from(params.m_cost()), u64::from(params.t_cost())),
            Self::Scrypt(hash) => match scrypt::Params::try_from(hash) {
                // 128 · r · N bytes, written and read once for each lane.
                Ok(params) => {
                    let kib = (u64::from(params.r()) << params.log_n().min(40)).div_ceil(8);
                    (kib, 2 * u64::from(params.p()))
                }
                Err(_) => return true,
            },
        };
        memory > MAX_MEMORY_KIB || memory.saturating_mul(passes) > MAX_WORK_KIB
    }

    pub(super) fn matches(&self, password: &Password) -> Result<bool, HashingError> {
        let bytes = password.reveal().as_bytes();
        let verified = match self {
            Self::None => return Ok(false),
            Self::Bcrypt(text) => {
                return bcrypt::verify(bytes, text).map_err(|error| HashingError(error.to_string().into()));
            }
            Self::Argon2(hash, _) => Argon2::default().verify_password(bytes, hash),
            Self::Scrypt(hash) => scrypt::Scrypt::new().verify_password(bytes, hash),
        };
        match verified {
            Ok(()) => Ok(true),
            Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(HashingError(error.into())),
        }
    }
}

/// The hash function failed, or a stored hash can't be parsed.
#[derive(Debug, thiserror::Error)]
#[error("password hashing failed")]
pub struct HashingError(#[source] pub(super) Box<dyn std::error::Error + Send + Sync>);

#[cfg(test)]
mod tests {
    use super::*;

    /// From the test vectors of passlib, PHC and bcrypt.
    const SCRYPT: &str = "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E";
    const BCRYPT: &str = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    const ARGON2I: &str = "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA";

    fn matches(hash: &str, password: &str) -> bool {
        let parsed = Parsed::new(hash).expect("a hash");
        parsed.matches(&password.to_owned().into()).expect("a verdict")
    }

    fn refused(text: &str) -> Option<InvalidHash> {
        PasswordHash::import(text.to_owned()).err()
    }

    #[test]
    fn hashes_of_other_systems_are_verified() {
        for (hash, right) in [(SCRYPT, "password"), (BCRYPT, "U*U"), (ARGON2I, "password")] {
            assert_eq!(refused(hash), None);
            assert!(matches(hash, right) && !matches(hash, "another"), "{hash}");
        }
    }

    #[test]
    fn no_password_matches_a_user_without_one() {
        assert!(!matches(PasswordHash::none().as_str(), ""));
        assert_eq!(refused(""), Some(InvalidHash::Format));
    }

    #[test]
    fn malformed_and_unsupported_hashes_are_refused() {
        for text in ["secret", "$2b$05$short", "$argon2id$v=19$m=65536,t=2,p=1", "$argon2id$"] {
            assert_eq!(refused(text), Some(InvalidHash::Format), "{text}");
        }
        let other = "$pbkdf2-sha256$i=1000,l=32$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA";
        assert_eq!(refused(other), Some(InvalidHash::Unsupported));
    }

    #[test]
    fn hashes_that_are_too_costly_are_refused() {
        let costly = [
            BCRYPT.replace("$05$", "$15$"),
            BCRYPT.replace("$05$", "$03$"),
            ARGON2I.replace("m=65536", "m=2000000"),
            ARGON2I.replace("t=2", "t=4000000"),
            SCRYPT.replace("ln=16", "ln=21"),
            SCRYPT.replace("p=1", "p=1000"),
        ];
        for text in costly {
            assert_eq!(refused(&text), Some(InvalidHash::TooCostly), "{text}");
        }
    }
}
