//! User administration by operators.

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    audit,
    clock::Timestamp,
    http::{
        auth::{Operator, Origin, parse_user_id},
        body::JsonBody,
        json::Json,
        path::{AnyUser, PathParam},
        query,
        views::{IssuedView, UserView},
    },
    model::{Client, Permission, Permissions},
    web::problem::{Problem, ProblemKind},
};

/// Finds a user by login name.
#[utoipa::path(
    get, path = "/v1/operator/users", tag = "operator", operation_id = "find_user",
    security(("operator_token" = []), ("session" = [])),
    params(("login_name" = String, Query, description = "The login name. Case does not matter.", example = "ada")),
    responses(
        (status = 200, description = "The user.", body = UserView),
        (status = 404, description = "not-found"),
    )
)]
pub(in crate::http) async fn find(State(app): State<App>, RawQuery(text): RawQuery) -> Result<Json<UserView>, Problem> {
    let [login_name] = query::read(text.as_deref(), ["login_name"])?;
    let login_name = login_name.ok_or_else(|| Problem::field(ProblemKind::Malformed, "login_name", "is missing"))?;
    let user = app.users().find_by_name(&login_name).await?;
    app.users().republish(&user).await;
    Ok(Json(UserView::new(app.shards(), user)?))
}

/// An empty object.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// Creates a session for a user, without a password.
///
/// For users who have signed on elsewhere. The response is the same as that of a login.
#[utoipa::path(
    post, path = "/v1/operator/users/{user_id}/sessions", tag = "operator", operation_id = "issue_session",
    security(("operator_token" = []), ("session" = [])),
    params(AnyUser),
    request_body = Empty,
    responses(
        (status = 200, description = "The session and its token.", body = IssuedView),
        (status = 404, description = "not-found"),
        (status = 409, description = "suspended"),
        (status = 503, description = "overloaded, revocation-pending"),
    )
)]
pub(in crate::http) async fn issue_session(
    State(app): State<App>,
    Extension(Operator(actor)): Extension<Operator>,
    origin: Origin,
    PathParam(user_id): PathParam,
    JsonBody(Empty {}): JsonBody<Empty>,
) -> Result<Json<IssuedView>, Problem> {
    // Address and user agent of this request are the operator's, so they are not stored with the user's session.
    let user_id = parse_user_id(&user_id)?;
    let issued = app.users().issue_session(user_id, Client::default()).await?;
    audit::record(audit::Kind::SessionIssued, Some(user_id), actor, origin.address);
    Ok(Json(IssuedView::new(app.shards(), issued)?))
}

/// A one-time token for setting a new password.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ResetToken {
    /// The token for `POST /v1/password-reset`. It can't be retrieved again.
    #[schema(example = "symr_AZONXnsqfEGfDjxdihsvYJc1bq0mC1cWQxYc1b0kJm8hQ2Yl9d4uXwqk0v3n1y2E")]
    token: String,
    /// Expiry of the token.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T13:00:00Z")]
    expires_at: Timestamp,
}

/// Creates a one-time token with which the user can set a new password.
///
/// It replaces an earlier token of the user.
#[utoipa::path(
    post, path = "/v1/operator/users/{user_id}/password-reset", tag = "operator", operation_id = "start_password_reset",
    security(("operator_token" = []), ("session" = [])),
    params(AnyUser),
    responses(
        (status = 200, description = "The reset token.", body = ResetToken),
        (status = 404, description = "not-found"),
        (status = 503, description = "overloaded"),
    )
)]
pub(in crate::http) async fn start_reset(
    State(app): State<App>,
    Extension(Operator(actor)): Extension<Operator>,
    origin: Origin,
    PathParam(user_id): PathParam,
) -> Result<Json<ResetToken>, Problem> {
    let user_id = parse_user_id(&user_id)?;
    let (token, expires_at) = app.users().start_reset(user_id).await?;
    audit::record(audit::Kind::ResetStarted, Some(user_id), actor, origin.address);
    Ok(Json(ResetToken { token: token.reveal(), expires_at }))
}

/// The new permissions of a user.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PermissionsChange {
    /// The complete list. Permissions that are not listed are revoked.
    #[schema(example = json!(["read", "write", "admin"]))]
    permissions: Vec<Permission>,
}

/// Sets the permissions of a user.
///
/// They are in force in all of the user's sessions when the response is sent.
#[utoipa::path(
    put, path = "/v1/operator/users/{user_id}/permissions", tag = "operator", operation_id = "set_permissions",
    security(("operator_token" = []), ("session" = [])),
    params(AnyUser),
    request_body = PermissionsChange,
    responses(
        (status = 200, description = "The changed user.", body = UserView),
        (status = 404, description = "not-found"),
        (status = 503, description = "overloaded"),
    )
)]
pub(in crate::http) async fn set_permissions(
    State(app): State<App>,
    Extension(Operator(actor)): Extension<Operator>,
    origin: Origin,
    PathParam(user_id): PathParam,
    JsonBody(body): JsonBody<PermissionsChange>,
) -> Result<Json<UserView>, Problem> {
    let permissions = Permissions::from_list(&body.permissions);
    let user_id = parse_user_id(&user_id)?;
    let user = app.users().set_permissions(user_id, permissions).await?;
    audit::record(audit::Kind::PermissionsChanged, Some(user_id), actor, origin.address);
    Ok(Json(UserView::new(app.shards(), user)?))
}

/// Whether a user is suspended.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// True suspends the user, false lifts the suspension.
    #[schema(example = true)]
    suspended: bool,
}

/// Suspends a user, or lifts the suspension.
///
/// A suspended user can't log in, and all its sessions end.
#[utoipa::path(
    put, path = "/v1/operator/users/{user_id}/suspended", tag = "operator", operation_id = "set_suspended",
    security(("operator_token" = []), ("session" = [])),
    params(AnyUser),
    request_body = Suspension,
    responses(
        (status = 204, description = "The suspension is set or lifted. If it is set, all sessions of the user have ended."),
        (status = 404, description = "not-found"),
        (status = 503, description = "overloaded"),
    )
)]
pub(in crate::http) async fn set_suspended(
    State(app): State<App>,
    Extension(Operator(actor)): Extension<Operator>,
    origin: Origin,
    PathParam(user_id): PathParam,
    JsonBody(body): JsonBody<Suspension>,
) -> Result<StatusCode, Problem> {
    let user_id = parse_user_id(&user_id)?;
    app.users().set_suspended(user_id, body.suspended).await?;
    let kind = if body.suspended { audit::Kind::Suspended } else { audit::Kind::Unsuspended };
    audit::record(kind, Some(user_id), actor, origin.address);
    Ok(StatusCode::NO_CONTENT)
}
