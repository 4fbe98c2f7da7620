//! Maps the errors of the lower layers to problems.

use crate::{
    json::JsonError,
    passwords::PasswordError,
    sessions::SessionError,
    store_error::StoreError,
    users::UserError,
    web::problem::{Problem, ProblemKind},
};

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        Self::field(ProblemKind::Malformed, error.field, error.detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let kind = match error {
            StoreError::Unavailable { .. } | StoreError::StaleEpoch { .. } => ProblemKind::Unavailable,
            StoreError::Corrupt { .. } => ProblemKind::Internal,
        };
        Self::from(kind).caused_by(error)
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Invalid => ProblemKind::Unauthenticated.into(),
            SessionError::Store(error) => error.into(),
        }
    }
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Invalid(violations) => Self::fields(ProblemKind::Invalid, violations),
            UserError::Unknown => ProblemKind::NotFound.into(),
            UserError::NameTaken => Self::field(ProblemKind::NameTaken, "login_name", "is taken"),
            UserError::InvalidCredentials => ProblemKind::InvalidCredentials.into(),
            UserError::WrongPassword => Self::field(ProblemKind::WrongPassword, "current_password", "is wrong"),
            UserError::InvalidResetToken => {
                Self::field(ProblemKind::InvalidResetToken, "token", "is unknown, used or expired")
            }
            UserError::Suspended => ProblemKind::Suspended.into(),
            UserError::NamePending { retry_after } => Self::from(ProblemKind::NamePending).retry_after(retry_after),
            UserError::RevocationPending { retry_after } => {
                Self::from(ProblemKind::RevocationPending).retry_after(retry_after)
            }
            UserError::PreconditionFailed => {
                Self::field(ProblemKind::PreconditionFailed, "If-Match", "does not match the current version")
            }
            UserError::Contended => ProblemKind::Overloaded.into(),
            UserError::Throttled { retry_after } => Self::from(ProblemKind::TooManyAttempts).retry_after(retry_after),
            UserError::Password(PasswordError::Saturated(saturated)) => {
                Self::from(ProblemKind::Overloaded).retry_after(saturated.retry_after).delayed()
            }
            UserError::Password(error) => Self::from(ProblemKind::Internal).caused_by(error),
            UserError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error, time::Duration};

    use axum::{http::header, response::IntoResponse};

    use super::*;
    use crate::store_error::Outcome;

    #[test]
    fn every_problem_kind_has_its_own_type() {
        let mut slugs: Vec<&str> = ProblemKind::ALL.iter().map(|kind| kind.slug()).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), ProblemKind::ALL.len());
    }

    #[test]
    fn the_cause_of_a_failure_is_not_sent() {
        let source: Box<dyn Error + Send + Sync> = "postgres://user:secret@host refused".into();
        let problem =
            Problem::from(StoreError::Unavailable { store: "db-node-0".into(), outcome: Outcome::Unknown, source });
        let body = serde_json::to_string(&problem.body()).expect("JSON");
        assert!(!body.contains("secret") && !body.contains("db-node-0"), "{body}");
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        let response = Problem::from(UserError::Throttled { retry_after: Duration::from_millis(1001) }).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let soon = Problem::from(ProblemKind::Overloaded).retry_after(Duration::from_micros(1)).into_response();
        assert_eq!(soon.headers()[header::RETRY_AFTER], "1", "zero would invite an immediate retry");
    }
}
