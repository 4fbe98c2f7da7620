//! Authentication of callers: by session token, in the `Authorization` header or a cookie, or by operator token.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    http::{Extensions, HeaderMap, header, request::Parts},
    middleware::Next,
    response::Response,
};

use crate::{
    app::App,
    audit::{self, Actor},
    model::{Client, InvalidUserId, SessionId, Token, User, UserId},
    sessions::LiveSession,
    shards::ShardLocation,
    web::{
        address::{self, MalformedForwardedFor},
        auth::{bearer, wrong_operator_token},
        cookie,
        problem::{Problem, ProblemKind},
    },
};

/// The caller of a request with a live session.
#[derive(Debug)]
pub struct Caller {
    pub live: LiveSession,
    /// Whether the token came in a cookie.
    pub by_cookie: bool,
}

/// An authenticated operator: the request has an operator token, or a session with the permission `admin`.
#[derive(Debug, Clone, Copy)]
pub struct Operator(pub Actor);

/// The user named in a request's path. Admission resolves it once and passes it on to the handler.
#[derive(Debug, Clone)]
pub struct TargetUser {
    /// Not checked for existence.
    pub user_id: UserId,
    /// The session token, if the path says `me`.
    pub token: Option<Token>,
    pub placed: ShardLocation,
}

/// The kind of access that a request needs to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountAccess {
    Read,
    Write,
}

#[derive(Debug, Clone)]
pub struct Origin {
    /// The client's address, if known.
    pub address: Option<IpAddr>,
    /// Stored with a session that this request creates.
    pub client: Client,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let (token, by_cookie) = session_token(parts, app)?.ok_or(ProblemKind::Unauthenticated)?;
        Ok(Self { live: app.sessions().authenticate(&token).await?, by_cookie })
    }
}

/// Middleware that rejects requests of others than operators, and adds an [`Operator`] extension to the rest.
pub async fn require_operator(State(app): State<App>, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let operator = Operator::authenticate(&parts, &app).await?;
    parts.extensions.insert(operator);
    Ok(next.run(Request::from_parts(parts, body)).await)
}

impl Operator {
    /// Returns the operator that sent a request.
    ///
    /// # Errors
    /// 401 or 403 if the caller is not an operator, 429 if its address has sent too many wrong tokens.
    pub async fn authenticate(parts: &Parts, app: &App) -> Result<Self, Problem> {
        if bearer(&parts.headers).is_some_and(|token| app.operator_tokens().accept(token)) {
            return Ok(Self(Actor::Operator));
        }
        let address = address_of(&parts.headers, &parts.extensions, app)?;
        let refuse = |actor, kind: ProblemKind| {
            app.guesses().count_missing();
            audit::record(audit::Kind::OperatorRefused, None, actor, address);
            Err(kind.into())
        };
        let token = match session_token(parts, app) {
            Ok(Some((token, _))) => token,
            Ok(None) if bearer(&parts.headers).is_some() => return Err(wrong_operator_token(app.guesses(), address)),
            Ok(None) => return refuse(Actor::Anonymous, ProblemKind::OperatorOnly),
            Err(_) => return refuse(Actor::Anonymous, ProblemKind::CrossSite),
        };
        match app.sessions().authenticate(&token).await {
            Ok(live) if live.user.permissions.admin => Ok(Self(Actor::User(live.session.user_id))),
            Ok(live) => refuse(Actor::User(live.session.user_id), ProblemKind::Forbidden),
            Err(crate::sessions::SessionError::Invalid) => Err(wrong_operator_token(app.guesses(), address)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the session token of a request, and whether it came in a cookie. A bearer token takes precedence.
fn session_token(parts: &Parts, app: &App) -> Result<Option<(Token, bool)>, Problem> {
    let parsed = parts.extensions.get::<TargetUser>().and_then(|target| target.token.clone());
    let parse = |text: &str| parsed.or_else(|| Token::parse_session(text));
    if let Some(token) = bearer(&parts.headers) {
        return Ok(parse(token).map(|token| (token, false)));
    }
    let Some((own, token)) = app.settings().public_origin.as_ref().zip(cookie::token(&parts.headers)) else {
        return Ok(None);
    };
    if !parts.method.is_safe() {
        cookie::check_origin(&parts.headers, own)?;
    }
    Ok(parse(token).map(|token| (token, true)))
}

/// Returns the client's address, or `None` if the peer of the connection is unknown.
pub(super) fn address_of(
    headers: &HeaderMap,
    extensions: &Extensions,
    app: &App,
) -> Result<Option<IpAddr>, MalformedForwardedFor> {
    let Some(ConnectInfo(peer)) = extensions.get::<ConnectInfo<SocketAddr>>() else { return Ok(None) };
    address::client_address(peer.ip(), headers, &app.settings().trusted_proxies).map(Some)
}

impl FromRequestParts<App> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let address = address_of(&parts.headers, &parts.extensions, app)?;
        let user_agent =
            parts.headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let client = Client { address: address.map(|address| address.to_string()), user_agent };
        Ok(Self { address, client })
    }
}

impl Caller {
    pub fn user_id(&self) -> UserId {
        self.live.session.user_id
    }

    pub fn session_id(&self) -> SessionId {
        self.live.session.session_id
    }

    /// Returns the caller as the actor of audit events.
    pub fn actor(&self) -> Actor {
        Actor::User(self.user_id())
    }

    /// Returns the user that a path names: `me` or the caller's own id, and for an admin any id.
    ///
    /// # Errors
    /// 400 if `user_id` is not an id, 403 if the caller lacks the permission.
    pub fn target(&self, user_id: &str, access: AccountAccess) -> Result<UserId, Problem> {
        let permissions = self.live.user.permissions;
        let target = if user_id == "me" { self.user_id() } else { parse_user_id(user_id)? };
        let permitted = match access {
            AccountAccess::Read => permissions.read,
            AccountAccess::Write => permissions.write,
        };
        if (permitted && target == self.user_id()) || permissions.admin {
            Ok(target)
        } else {
            Err(ProblemKind::Forbidden.into())
        }
    }

    /// Returns whether sessions of `user` may hold an older version of it. Only the version in the caller's own session is known.
    fn may_outdate_sessions(&self, user: &User) -> bool {
        user.user_id != self.user_id() || user.version > self.live.user.version
    }

    /// Publishes `user` to its sessions if they may hold an older version.
    pub async fn republish_newer(&self, app: &App, user: &User) {
        if self.may_outdate_sessions(user) {
            // Boxed because it is rare: inline it would enlarge every read's future.
            Box::pin(app.users().republish(user)).await;
        }
    }
}

/// Parses a user id from a path.
///
/// # Errors
/// 400 if it is not a UUID.
pub fn parse_user_id(text: &str) -> Result<UserId, Problem> {
    text.parse().map_err(|error: InvalidUserId| Problem::field(ProblemKind::Malformed, "user_id", error.to_string()))
}
