//! Changing a password with the current one, or with a reset token.

use axum::{extract::State, http::StatusCode};
use serde::Deserialize;

use super::{
    auth::{AccountAccess, Caller, Origin},
    body::JsonBody,
    path::{PathParam, UserOrMe},
};
use crate::web::problem::Problem;
use crate::{
    app::App,
    audit::{self, Actor},
    passwords::Password,
};

/// The current and the new password.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// The current password.
    #[schema(value_type = String, format = Password, example = "correct horse battery")]
    current_password: Password,
    /// The new password: 8 to 256 characters after Unicode normalization (NFC), not equal to the login name, and not one of
    /// the most common passwords.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 256, pattern = "^[^\\x00]*$", example = "staple battery horse")]
    new_password: Password,
}

/// Changes the password and ends all other sessions of the user.
///
/// If the response is lost, the same request can be repeated: it succeeds again.
#[utoipa::path(
    put, path = "/v1/users/{user_id}/password", tag = "users", operation_id = "change_password", security(("session" = [])),
    params(UserOrMe),
    request_body = PasswordChange,
    responses(
        (status = 204, description = "The password is changed."),
        (status = 403, description = "forbidden, wrong-password"),
        (status = 404, description = "not-found"),
        (status = 422, description = "invalid-value"),
        (status = 429, description = "too-many-attempts"),
        (status = 503, description = "overloaded"),
    )
)]
pub(super) async fn change(
    State(app): State<App>,
    origin: Origin,
    caller: Caller,
    PathParam(user_id): PathParam,
    JsonBody(body): JsonBody<PasswordChange>,
) -> Result<StatusCode, Problem> {
    let user_id = caller.target(&user_id, AccountAccess::Write)?;
    let keep = (user_id == caller.user_id()).then_some(caller.session_id());
    let users = app.users();
    users
        .change_password(user_id, &body.current_password, &body.new_password, keep, caller.actor(), origin.address)
        .await?;
    audit::record(audit::Kind::PasswordChanged, Some(user_id), caller.actor(), origin.address);
    Ok(StatusCode::NO_CONTENT)
}

/// A reset token and the new password.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordResetRequest {
    /// The reset token, created by an operator.
    #[schema(value_type = String, format = Password, pattern = "^symr_[A-Za-z0-9_-]{64}$", example = "symr_AZONXnsqfEGfDjxdihsvYJc1bq0mC1cWQxYc1b0kJm8hQ2Yl9d4uXwqk0v3n1y2E")]
    token: Password,
    /// The new password: 8 to 256 characters after Unicode normalization (NFC), not equal to the login name, and not one of
    /// the most common passwords.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 256, pattern = "^[^\\x00]*$", example = "staple battery horse")]
    new_password: Password,
}

/// Sets a new password with a one-time token, and ends all sessions of the user.
#[utoipa::path(
    post, path = "/v1/password-reset", tag = "users", operation_id = "reset_password",
    request_body = PasswordResetRequest,
    responses(
        (status = 204, description = "The password is set."),
        (status = 422, description = "invalid-value, invalid-reset-token"),
        (status = 429, description = "too-many-attempts"),
        (status = 503, description = "overloaded"),
    )
)]
pub(super) async fn reset(
    State(app): State<App>,
    origin: Origin,
    JsonBody(body): JsonBody<PasswordResetRequest>,
) -> Result<StatusCode, Problem> {
    let user_id = app.users().finish_reset(body.token.reveal(), &body.new_password, origin.address).await?;
    audit::record(audit::Kind::PasswordReset, Some(user_id), Actor::Anonymous, origin.address);
    Ok(StatusCode::NO_CONTENT)
}
