//! What can go wrong with a user.

use std::time::Duration;

use crate::{
    model::Violation,
    passwords::{PasswordError, Saturated},
    shards::StaleEpoch,
    store_error::StoreError,
    throttle::ThrottleError,
};

/// Why a user was not registered, read, changed or let in.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Values that break rules; all that were found.
    #[error("{} values break a rule", .0.len())]
    Invalid(Vec<Violation>),
    /// There is no such user.
    #[error("there is no such user")]
    Unknown,
    /// Another user has the login name.
    #[error("the login name is taken")]
    NameTaken,
    /// Another request is taking the login name, or was left half-way.
    #[error("the login name is being taken")]
    NamePending {
        /// When to try again.
        retry_after: Duration,
    },
    /// Unknown name, wrong password or suspended user: not told apart.
    #[error("the login name or the password is wrong")]
    InvalidCredentials,
    /// The current password that came with a change is wrong.
    #[error("the current password is wrong")]
    WrongPassword,
    /// The reset token is unknown, used or expired.
    #[error("the reset token is not valid")]
    InvalidResetToken,
    /// The user is suspended: no session is made for it.
    #[error("the user is suspended")]
    Suspended,
    /// Its sessions are being ended because of a change that nobody knows yet to have been made.
    #[error("a change that ends the user's sessions is under way")]
    RevocationPending {
        /// When that is over at the latest.
        retry_after: Duration,
    },
    /// `If-Match` names another version.
    #[error("the user has changed")]
    PreconditionFailed,
    /// Others kept changing the same user; nothing was written.
    #[error("the user is being changed by too many at once")]
    Contended,
    /// Too many password checks.
    #[error("too many password checks")]
    Throttled {
        /// When the next may be made.
        retry_after: Duration,
    },
    /// The password was not hashed.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StaleEpoch for UserError {
    fn stale_epoch(&self) -> Option<i64> {
        match self {
            Self::Store(error) => error.stale_epoch(),
            _ => None,
        }
    }
}

impl From<ThrottleError> for UserError {
    fn from(error: ThrottleError) -> Self {
        match error {
            ThrottleError::Exhausted { retry_after } => Self::Throttled { retry_after },
            ThrottleError::Store(source) => Self::Store(source),
        }
    }
}

impl From<Saturated> for UserError {
    fn from(saturated: Saturated) -> Self {
        Self::Password(saturated.into())
    }
}
