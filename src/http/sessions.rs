//! Login, logout, and the sessions of the caller.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};

use super::{
    auth::{Caller, Origin},
    body::JsonBody,
    path::Segment,
    problem::{Problem, ProblemKind},
    views::{IssuedView, SessionListItem, SessionView},
};
use crate::{app::App, passwords::Password};

/// Name and password.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The login name, in any case.
    #[schema(example = "ada")]
    login_name: String,
    /// The password.
    #[schema(value_type = String, format = Password, example = "correct horse battery")]
    password: Password,
}

/// Logs in: makes a session.
///
/// The answer is the same for an unknown name, a wrong password and a suspended user.
#[utoipa::path(
    post, path = "/v1/login", tag = "sessions", operation_id = "login",
    request_body = LoginRequest,
    responses(
        (status = 200, description = "The session and its token.", body = IssuedView),
        (status = 401, description = "invalid-credentials"),
        (status = 429, description = "too-many-attempts"),
        (status = 503, description = "overloaded"),
    )
)]
pub(super) async fn login(
    State(app): State<App>,
    origin: Origin,
    JsonBody(body): JsonBody<LoginRequest>,
) -> Result<Json<IssuedView>, Problem> {
    let issued = app.users().login(&body.login_name, &body.password, origin.address, origin.client).await?;
    Ok(Json(IssuedView::new(&app, issued)?))
}

/// Logs out: ends the session that asks.
#[utoipa::path(
    post, path = "/v1/logout", tag = "sessions", operation_id = "logout", security(("session" = [])),
    responses((status = 204, description = "The session has ended, on every instance."))
)]
pub(super) async fn logout(State(app): State<App>, caller: Caller) -> Result<StatusCode, Problem> {
    app.sessions().end(caller.user_id(), caller.0.session.session_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who am I: the session that asks. Touches no shard.
#[utoipa::path(
    get, path = "/v1/session", tag = "sessions", operation_id = "who_am_i", security(("session" = [])),
    responses((status = 200, description = "The session.", body = SessionView))
)]
pub(super) async fn who_am_i(caller: Caller) -> Json<SessionView> {
    Json(SessionView::new(caller.0))
}

/// The caller's sessions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SessionList {
    /// Oldest first.
    sessions: Vec<SessionListItem>,
}

/// Lists the caller's live sessions, oldest first.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "sessions", operation_id = "list_sessions", security(("session" = [])),
    responses((status = 200, description = "The sessions.", body = SessionList))
)]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<SessionList>, Problem> {
    let current = Some(caller.0.session.session_id);
    let sessions = app.sessions().list(caller.user_id()).await?;
    Ok(Json(SessionList {
        sessions: sessions.into_iter().map(|session| SessionListItem::new(session, current)).collect(),
    }))
}

/// Ends one of the caller's sessions.
#[utoipa::path(
    delete, path = "/v1/sessions/{session_id}", tag = "sessions", operation_id = "end_session", security(("session" = [])),
    params(("session_id" = String, Path, pattern = "^[0-9a-f]{32}$", description = "The session's id.", example = "9f86d081884c7d659a2feaa0c55ad015")),
    responses(
        (status = 204, description = "The session has ended, on every instance."),
        (status = 404, description = "not-found"),
    )
)]
pub(super) async fn end(
    State(app): State<App>,
    caller: Caller,
    Segment(session_id): Segment,
) -> Result<StatusCode, Problem> {
    let session_id = session_id.parse().map_err(|error: crate::sessions::InvalidSessionId| {
        Problem::field(ProblemKind::Malformed, "session_id", error.to_string())
    })?;
    if app.sessions().end(caller.user_id(), session_id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ProblemKind::NotFound.into())
    }
}

/// Ends all of the caller's sessions, the one that asks included.
#[utoipa::path(
    delete, path = "/v1/sessions", tag = "sessions", operation_id = "end_all_sessions", security(("session" = [])),
    responses((status = 204, description = "All sessions have ended, on every instance."))
)]
pub(super) async fn end_all(State(app): State<App>, caller: Caller) -> Result<StatusCode, Problem> {
    app.sessions().end_all(caller.user_id(), None).await?;
    Ok(StatusCode::NO_CONTENT)
}
