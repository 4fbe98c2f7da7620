//! Login, logout, and the caller's sessions.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{
    auth::{Caller, Origin},
    body::JsonBody,
    json::Json,
    path::PathParam,
    views::{IssuedView, SessionListItem, SessionView},
};
use crate::web::{
    cookie,
    problem::{Problem, ProblemKind},
};
use crate::{app::App, audit, model::SessionId, passwords::Password};

/// Login name and password.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// Login name. Case does not matter.
    #[schema(example = "ada")]
    login_name: String,
    /// Password.
    #[schema(value_type = String, format = Password, example = "correct horse battery")]
    password: Password,
    /// Whether to return the token in a cookie that scripts can't read, instead of in the body. Only for browsers, on pages of
    /// the service's public origin.
    #[serde(default)]
    #[schema(required = false, example = false)]
    cookie: bool,
}

/// Logs in and creates a session.
///
/// The error is the same for an unknown login name, a wrong password and a suspended user.
#[utoipa::path(
    post, path = "/v1/login", tag = "sessions", operation_id = "login",
    request_body = LoginRequest,
    responses(
        (status = 200, description = "The session and its token.", body = IssuedView, headers(("Set-Cookie" = String, description = "The token, if a cookie was requested."))),
        (status = 401, description = "invalid-credentials"),
        (status = 403, description = "cross-site"),
        (status = 422, description = "invalid-value"),
        (status = 429, description = "too-many-attempts"),
        (status = 503, description = "overloaded, revocation-pending"),
    )
)]
pub(super) async fn login(
    State(app): State<App>,
    origin: Origin,
    headers: HeaderMap,
    JsonBody(body): JsonBody<LoginRequest>,
) -> Result<Response, Problem> {
    if body.cookie {
        let own = app.settings().public_origin.as_ref();
        let own =
            own.ok_or_else(|| Problem::field(ProblemKind::Invalid, "cookie", "needs the setting public_origin"))?;
        cookie::check_origin(&headers, own)?;
    }
    let issued = app.users().login(&body.login_name, &body.password, origin.address, origin.client).await?;
    let mut view = IssuedView::new(app.shards(), issued)?;
    let token = if body.cookie { view.token.take() } else { None };
    let cookie = token.and_then(|token| cookie::set(&token, app.settings().session_lifetime));
    Ok(with_cookie(cookie, Json(view)))
}

fn with_cookie(cookie: Option<HeaderValue>, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    response.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
    response
}

/// Returns the response to a request that ended sessions. It removes the cookie if the caller's own session ended.
pub(super) fn sessions_ended(caller: &Caller, includes_own: bool) -> Response {
    let removal = if includes_own && caller.by_cookie { cookie::removal() } else { None };
    with_cookie(removal, StatusCode::NO_CONTENT)
}

/// Logs out: ends the current session.
#[utoipa::path(
    post, path = "/v1/logout", tag = "sessions", operation_id = "logout", security(("session" = [])),
    responses((status = 204, description = "The session has ended on all instances."))
)]
pub(super) async fn logout(State(app): State<App>, origin: Origin, caller: Caller) -> Result<Response, Problem> {
    app.sessions().end(caller.user_id(), caller.session_id()).await?;
    audit::record(audit::Kind::SessionEnded, Some(caller.user_id()), caller.actor(), origin.address);
    Ok(sessions_ended(&caller, true))
}

/// Returns the current session.
///
/// It reads only the session store, no shard.
#[utoipa::path(
    get, path = "/v1/session", tag = "sessions", operation_id = "who_am_i", security(("session" = [])),
    responses((status = 200, description = "The session.", body = SessionView))
)]
pub(super) async fn who_am_i(caller: Caller) -> Json<SessionView> {
    Json(SessionView::new(caller.live))
}

/// The live sessions of a user.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SessionList {
    /// Sessions, oldest first.
    sessions: Vec<SessionListItem>,
}

/// Lists the caller's live sessions, oldest first.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "sessions", operation_id = "list_sessions", security(("session" = [])),
    responses((status = 200, description = "The sessions.", body = SessionList))
)]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<SessionList>, Problem> {
    let current = Some(caller.session_id());
    let sessions = app.sessions().list(caller.user_id()).await?;
    Ok(Json(SessionList {
        sessions: sessions.into_iter().map(|session| SessionListItem::new(session, current)).collect(),
    }))
}

/// Ends one of the caller's sessions.
#[utoipa::path(
    delete, path = "/v1/sessions/{session_id}", tag = "sessions", operation_id = "end_session", security(("session" = [])),
    params(("session_id" = String, Path, pattern = "^[0-9a-f]{32}$", description = "Id of the session.", example = "9f86d081884c7d659a2feaa0c55ad015")),
    responses(
        (status = 204, description = "The session has ended on all instances."),
        (status = 404, description = "not-found"),
    )
)]
pub(super) async fn end(
    State(app): State<App>,
    origin: Origin,
    caller: Caller,
    PathParam(session_id): PathParam,
) -> Result<Response, Problem> {
    let session_id: SessionId = session_id.parse().map_err(|error: crate::model::InvalidSessionId| {
        Problem::field(ProblemKind::Malformed, "session_id", error.to_string())
    })?;
    if app.sessions().end(caller.user_id(), session_id).await? {
        audit::record(audit::Kind::SessionEnded, Some(caller.user_id()), caller.actor(), origin.address);
        Ok(sessions_ended(&caller, session_id == caller.session_id()))
    } else {
        Err(ProblemKind::NotFound.into())
    }
}

/// Ends all of the caller's sessions, including the current one.
#[utoipa::path(
    delete, path = "/v1/sessions", tag = "sessions", operation_id = "end_all_sessions", security(("session" = [])),
    responses((status = 204, description = "All sessions have ended on all instances."))
)]
pub(super) async fn end_all(State(app): State<App>, origin: Origin, caller: Caller) -> Result<Response, Problem> {
    app.sessions().end_all(caller.user_id(), None).await?;
    audit::record(audit::Kind::SessionsEnded, Some(caller.user_id()), caller.actor(), origin.address);
    Ok(sessions_ended(&caller, true))
}
