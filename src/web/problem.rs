//! Errors as clients see them: RFC 9457 `application/problem+json`, with types that stay.
//!
//! [`ProblemKind`] is the table of all of them: the OpenAPI document and the responses are both made from it. A 5xx body
//! is the same whatever the cause; the cause is logged here, once, and of what repeats only a count.

use std::{error::Error, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{log::repeats::Repeats, model::Violation};

/// What problem types begin with.
pub const TYPE_PREFIX: &str = "urn:symbolon:problem:";

macro_rules! problem_kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $slug:literal, $status:ident, $title:literal;)*) => {
        /// Every problem that a response can tell of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ProblemKind {
            $($(#[doc = $doc])* $kind,)*
        }

        impl ProblemKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The end of its `type`.
            pub fn slug(self) -> &'static str {
                match self { $(Self::$kind => $slug,)* }
            }

            /// Its HTTP status.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            /// Failures of this kind, for the log.
            fn repeats(self) -> &'static Repeats {
                match self {
                    $(Self::$kind => {
                        static REPEATS: Repeats =
                            Repeats::new(|count| tracing::warn!(kind = $slug, count, "more requests failed"));
                        &REPEATS
                    })*
                }
            }

            /// What it is, in short.
            pub fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }
        }
    };
}

problem_kinds! {
    /// Not JSON, or not the shape that the endpoint takes.
    Malformed = "malformed-request", BAD_REQUEST, "The request is malformed";
    /// A value breaks a rule; `errors` names the fields.
    Invalid = "invalid-value", UNPROCESSABLE_ENTITY, "A value breaks a rule";
    /// No token, or one that opens nothing.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "A valid session token is needed";
    /// No operator token and no session with the permission admin.
    OperatorOnly = "operator-only", UNAUTHORIZED, "An operator token is needed";
    /// Unknown name or wrong password.
    InvalidCredentials = "invalid-credentials", UNAUTHORIZED, "The login name or the password is wrong";
    /// The session may not do this.
    Forbidden = "forbidden", FORBIDDEN, "The session has no permission for this";
    /// The current password that came with a change is wrong.
    WrongPassword = "wrong-password", FORBIDDEN, "The current password is wrong";
    /// A browser was made to send this by a page of another origin, or does not say by which.
    CrossSite = "cross-site", FORBIDDEN, "The request does not come from a page of this service";
    /// Registration is not open to the public.
    RegistrationClosed = "registration-closed", FORBIDDEN, "Only operators register users here";
    /// Nothing is there.
    NotFound = "not-found", NOT_FOUND, "There is no such resource";
    /// The path exists, but not for this method.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The resource has no such method";
    /// The body did not arrive in time.
    BodyTimeout = "request-timeout", REQUEST_TIMEOUT, "The request body did not arrive in time";
    /// Someone has the login name.
    NameTaken = "login-name-taken", CONFLICT, "The login name is taken";
    /// The user is suspended.
    Suspended = "suspended", CONFLICT, "The user is suspended";
    /// `If-Match` names another version.
    PreconditionFailed = "precondition-failed", PRECONDITION_FAILED, "The resource has changed";
    /// The body is too large.
    TooLarge = "payload-too-large", PAYLOAD_TOO_LARGE, "The request body is too large";
    /// There are more headers than a node takes.
    TooManyHeaders = "too-many-headers", REQUEST_HEADER_FIELDS_TOO_LARGE, "The request has too many headers";
    /// The body's content type is not taken.
    UnsupportedType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The content type is not JSON";
    /// The reset token is unknown, used or expired.
    InvalidResetToken = "invalid-reset-token", UNPROCESSABLE_ENTITY, "The reset token is not valid";
    /// Too many password checks, logins, registrations, or wrong operator tokens.
    TooManyAttempts = "too-many-attempts", TOO_MANY_REQUESTS, "Too many attempts";
    /// A mistake in the service.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The service failed";
    /// A store that the request needs does not answer.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "A store does not answer";
    /// Another request is taking the login name, or was left half-way.
    NamePending = "login-name-pending", SERVICE_UNAVAILABLE, "The login name is being taken";
    /// A change that ends the user's sessions is under way, or was left half-way: nobody logs in until that is known.
    RevocationPending = "revocation-pending", SERVICE_UNAVAILABLE, "The user's sessions are being ended";
    /// The request waits behind too many others.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Too many requests wait";
    /// The request took too long.
    Timeout = "timeout", SERVICE_UNAVAILABLE, "The request took too long";
    /// The body is coded for its way in a manner that is not known here.
    UnknownCoding = "unknown-transfer-coding", NOT_IMPLEMENTED, "The transfer coding is not known";
    /// The gateway has no node that takes requests.
    NoNode = "no-node", SERVICE_UNAVAILABLE, "No instance takes requests";
    /// The node that the gateway passed the request on to failed.
    BadGateway = "bad-gateway", BAD_GATEWAY, "The instance failed";
    /// It did not answer in time.
    GatewayTimeout = "gateway-timeout", GATEWAY_TIMEOUT, "The instance did not answer in time";
}

/// The body of an error response (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Tells the kind of problem; it stays the same.
    #[serde(rename = "type")]
    #[schema(example = "urn:symbolon:problem:invalid-value")]
    type_: String,
    /// The kind in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The fields that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// One field that is wrong.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The field, dotted, or the header or parameter.
    #[schema(example = "profile.email")]
    field: String,
    /// What is wrong with it.
    #[schema(example = "must be an e-mail address, such as ada@example.com")]
    detail: String,
}

/// An error response under way.
#[derive(Debug)]
pub struct Problem {
    kind: ProblemKind,
    detail: Option<String>,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    cause: Option<Box<dyn Error + Send + Sync>>,
    logged: bool,
    delayed: bool,
}

/// Marks a response that listeners are to keep back for a moment, as they do with 429.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delayed;

impl From<ProblemKind> for Problem {
    fn from(kind: ProblemKind) -> Self {
        Self { kind, detail: None, errors: Vec::new(), retry_after: None, cause: None, logged: true, delayed: false }
    }
}

impl Problem {
    /// A problem with one field, header or parameter.
    pub fn field(kind: ProblemKind, field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::fields(kind, vec![Violation::new(field, detail)])
    }

    /// A problem with several fields.
    pub fn fields(kind: ProblemKind, violations: Vec<Violation>) -> Self {
        let detail = violations.iter().map(|violation| sentence(&violation.field, &violation.detail));
        let detail = Some(detail.collect::<Vec<_>>().join("; "));
        let errors = violations.into_iter().map(|Violation { field, detail }| FieldError { field, detail }).collect();
        Self { detail, errors, ..kind.into() }
    }

    /// Whether it only says that the caller lacks a permission.
    pub fn is_refusal(&self) -> bool {
        matches!(self.kind, ProblemKind::OperatorOnly | ProblemKind::Forbidden)
    }

    /// Adds what is wrong, in words.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Leaves it out of the log, where whoever makes it tells of many at once.
    pub fn unlogged(mut self) -> Self {
        self.logged = false;
        self
    }

    /// Has listeners keep it back for a moment: trying again at once is to be slow.
    pub fn delayed(mut self) -> Self {
        self.delayed = true;
        self
    }

    /// Says when to try again.
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    pub(crate) fn caused_by(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    fn log(&self) {
        let kind = self.kind.slug();
        // A dead store fails every request.
        self.kind.repeats().record(|| match &self.cause {
            Some(cause) => tracing::error!(kind, error = cause.as_ref() as &dyn Error, "a request failed"),
            None => tracing::warn!(kind, "a request was not served"),
        });
    }

    /// The body for a kind, as documented.
    pub(crate) fn example(kind: ProblemKind) -> ProblemBody {
        let problem = match kind {
            ProblemKind::Malformed => Self::field(kind, "theme", "is there twice"),
            ProblemKind::Invalid => {
                Self::field(kind, "profile.email", "must be an e-mail address, such as ada@example.com")
            }
            _ => kind.into(),
        };
        problem.body()
    }

    pub(crate) fn body(self) -> ProblemBody {
        ProblemBody {
            type_: format!("{TYPE_PREFIX}{}", self.kind.slug()),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: self.detail,
            errors: self.errors,
        }
    }
}

fn sentence(field: &str, detail: &str) -> String {
    if field.is_empty() { format!("the body {detail}") } else { format!("{field} {detail}") }
}

/// Retrying a request that overload refused makes sense after this long, unless more is known.
const RETRY_SOON: Duration = Duration::from_secs(1);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let (kind, delayed) = (self.kind, self.delayed);
        if status.is_server_error() && self.logged {
            self.log();
        }
        let retry_after = match status {
            StatusCode::SERVICE_UNAVAILABLE => Some(self.retry_after.unwrap_or(RETRY_SOON)),
            _ => self.retry_after,
        };
        let operator = kind == ProblemKind::OperatorOnly;
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        // For the layers around it.
        response.extensions_mut().insert(kind);
        if delayed {
            response.extensions_mut().insert(Delayed);
        }
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = retry_after {
            // Rounded up: a client that waits this long is not refused again.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_millis().div_ceil(1000).max(1) as u64));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = if operator { "Bearer realm=\"symbolon operator\"" } else { "Bearer realm=\"symbolon\"" };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl IntoResponse for ProblemKind {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

/// The answer for paths that nothing is at.
pub async fn not_found() -> Response {
    ProblemKind::NotFound.into_response()
}

/// The answer for paths that don't have the method.
pub async fn method_not_allowed() -> Response {
    ProblemKind::MethodNotAllowed.into_response()
}
