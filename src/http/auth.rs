//! Who calls: a session by its bearer token, or an operator.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};

use super::problem::{Problem, ProblemKind};
use crate::{
    app::App,
    sessions::{LiveSession, Token},
    shared_store::Client,
    users::UserId,
};

/// A request with a live session.
#[derive(Debug)]
pub struct Caller(pub LiveSession);

/// A request by an operator: with an operator token, or a session that has the permission `admin`.
#[derive(Debug)]
pub struct Operator;

/// What is to be done with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look at it.
    Read,
    /// Change it.
    Write,
}

/// Where a request came from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The client's address, if it is known.
    pub address: Option<IpAddr>,
    /// What a session made by this request remembers of it.
    pub client: Client,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let token = bearer(&parts.headers).and_then(Token::parse_session).ok_or(ProblemKind::Unauthenticated)?;
        Ok(Self(app.sessions().authenticate(&token).await?))
    }
}

impl FromRequestParts<App> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let token = bearer(&parts.headers).ok_or(ProblemKind::OperatorOnly)?;
        if app.operator_tokens().accept(token) {
            return Ok(Self);
        }
        let session = Token::parse_session(token).ok_or(ProblemKind::OperatorOnly)?;
        match app.sessions().authenticate(&session).await {
            Ok(live) if live.user.permissions.admin => Ok(Self),
            Ok(_) => Err(ProblemKind::Forbidden.into()),
            Err(crate::sessions::SessionError::Invalid) => Err(ProblemKind::OperatorOnly.into()),
            Err(error) => Err(error.into()),
        }
    }
}

impl FromRequestParts<App> for Origin {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Self::Rejection> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        let user_agent =
            parts.headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let client = Client { address: address.map(|address| address.to_string()), user_agent };
        Ok(Self { address, client })
    }
}

impl Caller {
    /// The caller's own id.
    pub fn user_id(&self) -> UserId {
        self.0.session.user_id
    }

    /// The user that a path speaks of: `me`, the caller's own id, or for an admin anyone's.
    ///
    /// # Errors
    /// 400 if it is no id, 403 if it is out of the caller's reach.
    pub fn target(&self, user_id: &str, access: Access) -> Result<UserId, Problem> {
        let permissions = self.0.user.permissions;
        let target = if user_id == "me" { self.user_id() } else { parse_user_id(user_id)? };
        let permitted = match access {
            Access::Read => permissions.read,
            Access::Write => permissions.write,
        };
        if (permitted && target == self.user_id()) || permissions.admin {
            Ok(target)
        } else {
            Err(ProblemKind::Forbidden.into())
        }
    }
}

/// A user id in a path.
pub fn parse_user_id(text: &str) -> Result<UserId, Problem> {
    text.parse().map_err(|_| Problem::field(ProblemKind::Malformed, "user_id", "must be a UUID"))
}

/// The one bearer token of a request. Two `Authorization` headers are ambiguous, and none counts.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}
