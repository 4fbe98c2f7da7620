//! The hash formats that are recognised: argon2 and scrypt as PHC strings, and bcrypt. Only argon2id is made here; the
//! others come with imported users and are replaced at their next login.

use std::str::FromStr;

use argon2::{Argon2, Params, PasswordVerifier, password_hash::phc};

use super::Password;
use crate::model::PasswordHash;

/// The most memory that a stored hash may take to check, in KiB.
const MAX_MEMORY_KIB: u64 = 256 * 1024;
/// The most memory that may be gone through to check a stored hash, all passes together, in KiB: a second of one core.
const MAX_WORK_KIB: u64 = 4 * MAX_MEMORY_KIB;
/// The costs of a stored bcrypt hash: the lowest that there is, and a second of one core.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=14;

/// Text that is no hash which could be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHash {
    /// Neither a PHC string nor bcrypt's format, or cut short.
    #[error("must be a PHC string of argon2 or scrypt, or a bcrypt hash")]
    Format,
    /// A PHC string of another algorithm, or with parameters that make no sense.
    #[error("is of an algorithm or has parameters that are not supported; argon2, scrypt and bcrypt are")]
    Unsupported,
    /// It would occupy a core for long, or more memory than a server has to spare.
    #[error("would take more than 256 MiB of memory or a second to check")]
    TooCostly,
}

/// A stored hash, parsed.
pub(super) enum Parsed<'a> {
    /// There is no password.
    None,
    Argon2(phc::PasswordHash, Params),
    Scrypt(phc::PasswordHash),
    Bcrypt(&'a str),
}

impl PasswordHash {
    /// A hash made elsewhere.
    ///
    /// # Errors
    /// [`InvalidHash`] for what could never be checked, or not in bearable time.
    pub fn import(text: String) -> Result<Self, InvalidHash> {
        match Parsed::new(&text)? {
            Parsed::None => Err(InvalidHash::Format),
            parsed if parsed.is_too_costly() => Err(InvalidHash::TooCostly),
            _ => Ok(Self::new(text)),
        }
    }

    /// The hash of a user without a password: none is the right one until it is reset.
    pub fn none() -> Self {
        Self::new(String::new())
    }

    /// The hash as text, for export; `None` if there is no password.
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
                // 128 · r · N bytes, filled and read once a lane.
                Ok(params) => {
                    let kib = (u64::from(params.r()) << params.log_n().min(40)).div_ceil(8);
                    (kib, 2 * u64::from(params.p()))
                }
                Err(_) => return true,
            },
        };
        memory > MAX_MEMORY_KIB || memory.saturating_mul(passes) > MAX_WORK_KIB
    }

    /// Whether `password` is the one that was hashed.
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

/// A hasher that failed, or a stored hash that can't be read.
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
    fn hashes_made_elsewhere_are_recognised() {
        for (hash, right) in [(SCRYPT, "password"), (BCRYPT, "U*U"), (ARGON2I, "password")] {
            assert_eq!(refused(hash), None);
            assert!(matches(hash, right) && !matches(hash, "another"), "{hash}");
        }
    }

    #[test]
    fn no_password_is_right_for_a_user_without_one() {
        assert!(!matches(PasswordHash::none().as_str(), ""));
        assert_eq!(refused(""), Some(InvalidHash::Format));
    }

    #[test]
    fn what_can_not_be_checked_is_refused() {
        for text in ["secret", "$2b$05$short", "$argon2id$v=19$m=65536,t=2,p=1", "$argon2id$"] {
            assert_eq!(refused(text), Some(InvalidHash::Format), "{text}");
        }
        let other = "$pbkdf2-sha256$i=1000,l=32$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA";
        assert_eq!(refused(other), Some(InvalidHash::Unsupported));
    }

    #[test]
    fn what_would_take_too_long_is_refused() {
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
