//! `POST /v1/users`.

use axum::{
    extract::{FromRequestParts, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{
    auth::{Operator, Origin, address_of},
    body::JsonBody,
    conditional::Versioned,
    views::{PreferencesSchema, UserView},
};
use crate::web::{
    auth::{bearer, charge_guess},
    problem::{Problem, ProblemKind},
};
use crate::{
    app::App,
    audit::Actor,
    config,
    json::{DocumentObject, object},
    model::{Profile, Token},
    passwords::Password,
    users::Registration,
};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const MAX_KEY_BYTES: usize = 255;

/// A registration.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistrationRequest {
    /// The name to log in with: 1 to 254 visible characters without white space, in its canonical form too. Case and
    /// compatibility forms don't matter. ASCII, or letters of one script in common use, or Latin with Chinese, Japanese or
    /// Korean (Highly Restrictive by UTS 39).
    #[schema(min_length = 1, max_length = 254, pattern = "^[^\\s\\x00-\\x1f\\x7f-\\x9f]+$", example = "ada")]
    login_name: String,
    /// 8 to 256 characters in Unicode's form NFC, not equal to the login name, none of those that are guessed first.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 256, pattern = "^[^\\x00]*$", example = "correct horse battery")]
    password: Password,
    /// Name and e-mail address.
    #[serde(deserialize_with = "object")]
    profile: Profile,
    /// The first preferences.
    #[serde(default)]
    #[schema(value_type = PreferencesSchema, required = false)]
    preferences: DocumentObject,
}

/// Registers a user.
///
/// Of racing registrations of one name exactly one succeeds. With an `Idempotency-Key`, a repeat with the same key, name
/// and password gets the same answer instead of 409. Where registration is closed to the public, only operators register.
/// Registrations are counted by address, refused ones too; those with an operator token are not.
#[utoipa::path(
    post, path = "/v1/users", tag = "users", operation_id = "register",
    security((), ("operator_token" = []), ("session" = [])),
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255, pattern = "^[!-~]+$", description = "Makes a repeat of this request recognisable: visible ASCII characters.")),
    request_body = RegistrationRequest,
    responses(
        (status = 201, description = "The user.", body = UserView, headers(("ETag" = String, description = "The version."), ("Location" = String, description = "The user's path."))),
        (status = 403, description = "registration-closed"),
        (status = 409, description = "login-name-taken"),
        (status = 422, description = "invalid-value"),
        (status = 429, description = "too-many-attempts"),
        (status = 503, description = "overloaded, login-name-pending"),
    )
)]
pub(super) async fn register(
    State(app): State<App>,
    origin: Origin,
    Permitted(by): Permitted,
    headers: HeaderMap,
    JsonBody(body): JsonBody<RegistrationRequest>,
) -> Result<Response, Problem> {
    let registration = Registration {
        login_name: body.login_name,
        password: body.password,
        profile: body.profile,
        preferences: body.preferences.0,
        idempotency_key: idempotency_key(&headers)?,
        by,
        address: origin.address,
    };
    let user = app.users().register(registration).await?;
    let location = HeaderValue::try_from(format!("/v1/users/{}", user.user_id))
        .map_err(|_| Problem::from(ProblemKind::Internal))?;
    let versioned = Versioned { version: user.version, body: UserView::new(app.shards(), user)? };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], versioned).into_response())
}

/// A request that may register users, and who makes it.
pub(super) struct Permitted(Actor);

impl FromRequestParts<App> for Permitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, app: &App) -> Result<Self, Problem> {
        match app.settings().registration {
            config::Registration::Public => {
                // Other tokens don't matter here. But as the right one shows, these are guesses, if they can't be a session's.
                match bearer(&parts.headers).filter(|token| Token::parse_session(token).is_none()) {
                    Some(token) if app.operator_tokens().accept(token) => return Ok(Self(Actor::Operator)),
                    Some(_) => charge_guess(app.guesses(), address_of(&parts.headers, &parts.extensions, app)?)?,
                    None => {}
                }
                Ok(Self(Actor::Nobody))
            }
            config::Registration::Operator => match Operator::authenticate(parts, app).await {
                Ok(Operator(actor)) => Ok(Self(actor)),
                Err(problem) if problem.is_permission_denied() => Err(ProblemKind::RegistrationClosed.into()),
                Err(problem) => Err(problem),
            },
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(key)
            if (1..=MAX_KEY_BYTES).contains(&key.len())
                && key.bytes().all(|byte| byte.is_ascii_graphic())
                && values.next().is_none() =>
        {
            Ok(Some(key.to_owned()))
        }
        _ => Err(Problem::field(
            ProblemKind::Malformed,
            "Idempotency-Key",
            format!("must have 1 to {MAX_KEY_BYTES} visible ASCII characters, and be there once"),
        )),
    }
}
