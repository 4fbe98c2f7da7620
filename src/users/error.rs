use std::time::Duration;

use crate::{
    model::Violation,
    passwords::{PasswordError, Saturated},
    shards::StaleEpoch,
    store_error::StoreError,
    throttle::ThrottleError,
};

#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Invalid values, at most [`super::rules::MAX_VIOLATIONS`].
    #[error("{} values are invalid", .0.len())]
    Invalid(Vec<Violation>),
    #[error("there is no such user")]
    Unknown,
    #[error("the login name is taken")]
    NameTaken,
    /// Another request is claiming the login name, or was interrupted while doing so.
    #[error("the login name is being claimed by another request")]
    NamePending { retry_after: Duration },
    /// The name is unknown, the password is wrong, or the user is suspended. Clients can't tell which.
    #[error("the login name or the password is wrong")]
    InvalidCredentials,
    #[error("the current password is wrong")]
    WrongPassword,
    #[error("the reset token is not valid")]
    InvalidResetToken,
    #[error("the user is suspended")]
    Suspended,
    /// The outcome of a change that ends all sessions is unknown yet.
    #[error("a change that ends the user's sessions is under way")]
    RevocationPending {
        /// Maximum time until the revocation has ended or expired.
        retry_after: Duration,
    },
    /// The version is none of those in `If-Match`.
    #[error("the user has changed")]
    PreconditionFailed,
    /// All attempts met a concurrent change. Nothing was written.
    #[error("the user is being changed by too many requests at once")]
    Contended,
    #[error("too many password checks")]
    Throttled { retry_after: Duration },
    #[error(transparent)]
    Password(#[from] PasswordError),
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
