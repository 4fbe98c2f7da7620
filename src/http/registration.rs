//! Registration of users.

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

/// Data of a new user.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistrationRequest {
    /// Login name: 1 to 254 visible characters without white space, also in canonical form. Case and Unicode compatibility
    /// forms do not matter. Allowed are ASCII, the letters of one script in common use, and Latin combined with Chinese,
    /// Japanese or Korean (the Highly Restrictive level of UTS 39).
    #[schema(min_length = 1, max_length = 254, pattern = "^[^\\s\\x00-\\x1f\\x7f-\\x9f]+$", example = "ada")]
    login_name: String,
    /// Password: 8 to 256 characters after Unicode normalization (NFC), not equal to the login name, and not one of the most
    /// common passwords.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 256, pattern = "^[^\\x00]*$", example = "correct horse battery")]
    password: Password,
    /// Name and e-mail address.
    #[serde(deserialize_with = "object")]
    profile: Profile,
    /// Initial preferences; empty if absent.
    #[serde(default)]
    #[schema(value_type = PreferencesSchema, required = false)]
    preferences: DocumentObject,
}

/// Registers a user.
///
/// Of concurrent registrations of one login name exactly one succeeds. With an `Idempotency-Key`, a repetition with the same
/// key, login name and password gets the same response instead of 409. If registration is closed to the public, only operators
/// can register users. Attempts are rate-limited by address, except with an operator token.
#[utoipa::path(
    post, path = "/v1/users", tag = "users", operation_id = "register",
    security((), ("operator_token" = []), ("session" = [])),
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255, pattern = "^[!-~]+$", description = "Unique key of this request, in visible ASCII characters, so that a repetition is recognized.")),
    request_body = RegistrationRequest,
    responses(
        (status = 201, description = "The new user.", body = UserView, headers(("ETag" = String, description = "Entity tag of the version."), ("Location" = String, description = "Path of the user."))),
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
    Registrar(by): Registrar,
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

/// The actor of a request that is permitted to register users.
pub(super) struct Registrar(Actor);

impl FromRequestParts<App> for Registrar {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, app: &App) -> Result<Self, Problem> {
        match app.settings().registration {
            config::Registration::Public => {
                // No token is needed. But a valid operator token is distinguishable, so any other token that is not in the
                // format of a session token counts as a guess.
                match bearer(&parts.headers).filter(|token| Token::parse_session(token).is_none()) {
                    Some(token) if app.operator_tokens().accept(token) => return Ok(Self(Actor::Operator)),
                    Some(_) => charge_guess(app.guesses(), address_of(&parts.headers, &parts.extensions, app)?)?,
                    None => {}
                }
                Ok(Self(Actor::Anonymous))
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
            format!("must have 1 to {MAX_KEY_BYTES} visible ASCII characters and occur once"),
        )),
    }
}
