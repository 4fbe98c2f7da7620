//! Error responses: RFC 9457 `application/problem+json` with stable types.
//!
//! [`ProblemKind`] lists all of them. Responses and the OpenAPI document are generated from it. The body of a 5xx response does
//! not depend on the cause. The cause is logged here, and repetitions are only counted.

use std::{error::Error, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{log::repeats::Repeats, model::Violation};

/// Prefix of all problem types.
pub const TYPE_PREFIX: &str = "urn:symbolon:problem:";

macro_rules! problem_kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $slug:literal, $status:ident, $title:literal;)*) => {
        /// The kinds of problems.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ProblemKind {
            $($(#[doc = $doc])* $kind,)*
        }

        impl ProblemKind {
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The last part of the problem's `type`.
            pub fn slug(self) -> &'static str {
                match self { $(Self::$kind => $slug,)* }
            }

            pub fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            /// Returns the log repetition counter of this kind.
            fn repeats(self) -> &'static Repeats {
                match self {
                    $(Self::$kind => {
                        static REPEATS: Repeats =
                            Repeats::new(|count| tracing::warn!(kind = $slug, count, "further requests failed"));
                        &REPEATS
                    })*
                }
            }

            /// The summary of the kind, for people.
            pub fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }
        }
    };
}

problem_kinds! {
    /// Not JSON, or not the structure that the endpoint expects.
    Malformed = "malformed-request", BAD_REQUEST, "The request is malformed";
    /// A value violates a rule; `errors` names the fields.
    Invalid = "invalid-value", UNPROCESSABLE_ENTITY, "A value breaks a rule";
    /// No token, or an invalid one.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "A valid session token is needed";
    /// Neither an operator token nor a session with the permission `admin`.
    OperatorOnly = "operator-only", UNAUTHORIZED, "An operator token is needed";
    InvalidCredentials = "invalid-credentials", UNAUTHORIZED, "The login name or the password is wrong";
    Forbidden = "forbidden", FORBIDDEN, "The session has no permission for this";
    WrongPassword = "wrong-password", FORBIDDEN, "The current password is wrong";
    /// The request comes from a page of another origin, or its origin is unknown.
    CrossSite = "cross-site", FORBIDDEN, "The request does not come from a page of this service";
    RegistrationClosed = "registration-closed", FORBIDDEN, "Only operators can register users";
    NotFound = "not-found", NOT_FOUND, "There is no such resource";
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The resource does not support this method";
    BodyTimeout = "request-timeout", REQUEST_TIMEOUT, "The request body did not arrive in time";
    NameTaken = "login-name-taken", CONFLICT, "The login name is taken";
    Suspended = "suspended", CONFLICT, "The user is suspended";
    /// `If-Match` does not match the current version.
    PreconditionFailed = "precondition-failed", PRECONDITION_FAILED, "The resource has changed";
    TooLarge = "payload-too-large", PAYLOAD_TOO_LARGE, "The request body is too large";
    /// More headers than an instance accepts.
    TooManyHeaders = "too-many-headers", REQUEST_HEADER_FIELDS_TOO_LARGE, "The request has too many headers";
    UnsupportedType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The content type is not JSON";
    /// The reset token is unknown, used or expired.
    InvalidResetToken = "invalid-reset-token", UNPROCESSABLE_ENTITY, "The reset token is not valid";
    /// Too many password checks, logins, registrations, or wrong operator tokens.
    TooManyAttempts = "too-many-attempts", TOO_MANY_REQUESTS, "Too many attempts";
    /// A bug in the service.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The service failed";
    /// A store that the request needs is unavailable.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "A store does not answer";
    /// Another request is claiming the login name, or was interrupted while doing so.
    NamePending = "login-name-pending", SERVICE_UNAVAILABLE, "The login name is being taken";
    /// An operation that ends the user's sessions is in progress or was interrupted. Logins are blocked until it is resolved.
    RevocationPending = "revocation-pending", SERVICE_UNAVAILABLE, "The user's sessions are being ended";
    /// The request was rejected because too many others are waiting.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Too many requests are waiting";
    Timeout = "timeout", SERVICE_UNAVAILABLE, "The request took too long";
    UnknownCoding = "unknown-transfer-coding", NOT_IMPLEMENTED, "The transfer coding is not supported";
    /// The gateway has no node that accepts requests.
    NoNode = "no-node", SERVICE_UNAVAILABLE, "No instance accepts requests";
    /// The node to which the gateway forwarded the request failed.
    BadGateway = "bad-gateway", BAD_GATEWAY, "The instance failed";
    /// The node to which the gateway forwarded the request did not respond in time.
    GatewayTimeout = "gateway-timeout", GATEWAY_TIMEOUT, "The instance did not answer in time";
}

/// The body of an error response (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// URI of the kind of problem. It is stable and meant for programs.
    #[serde(rename = "type")]
    #[schema(example = "urn:symbolon:problem:invalid-value")]
    type_: String,
    /// Summary of the kind, for people.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// Explanation for this request, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The invalid fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// An invalid field.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Dotted path of the field, or name of the header or parameter.
    #[schema(example = "profile.email")]
    field: String,
    /// What is wrong with the field.
    #[schema(example = "must be an e-mail address, such as ada@example.com")]
    detail: String,
}

/// An error response under construction.
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

/// Marks a response that listeners delay, as they do with 429.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delayed;

impl From<ProblemKind> for Problem {
    fn from(kind: ProblemKind) -> Self {
        Self { kind, detail: None, errors: Vec::new(), retry_after: None, cause: None, logged: true, delayed: false }
    }
}

impl Problem {
    /// Creates a problem with one field, header or parameter.
    pub fn field(kind: ProblemKind, field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::fields(kind, vec![Violation::new(field, detail)])
    }

    /// Creates a problem with several fields.
    pub fn fields(kind: ProblemKind, violations: Vec<Violation>) -> Self {
        let detail = violations.iter().map(|violation| sentence(&violation.field, &violation.detail));
        let detail = Some(detail.collect::<Vec<_>>().join("; "));
        let errors = violations.into_iter().map(|Violation { field, detail }| FieldError { field, detail }).collect();
        Self { detail, errors, ..kind.into() }
    }

    /// Returns whether the caller lacks operator rights.
    pub fn is_permission_denied(&self) -> bool {
        matches!(self.kind, ProblemKind::OperatorOnly | ProblemKind::Forbidden)
    }

    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Excludes the problem from the log. For callers that log an aggregate.
    pub fn unlogged(mut self) -> Self {
        self.logged = false;
        self
    }

    /// Makes listeners delay the response, which slows down immediate retries.
    pub fn delayed(mut self) -> Self {
        self.delayed = true;
        self
    }

    /// Sets `Retry-After`.
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
        // Repetitions are counted: an unavailable store fails every request.
        self.kind.repeats().record(|| match &self.cause {
            Some(cause) => tracing::error!(kind, error = cause.as_ref() as &dyn Error, "request failed"),
            None => tracing::warn!(kind, "request not served"),
        });
    }

    /// Returns the example body of a kind for the OpenAPI document.
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

/// `Retry-After` of 503 responses, unless the cause provides a better value.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let (kind, delayed) = (self.kind, self.delayed);
        if status.is_server_error() && self.logged {
            self.log();
        }
        let retry_after = match status {
            StatusCode::SERVICE_UNAVAILABLE => Some(self.retry_after.unwrap_or(DEFAULT_RETRY_AFTER)),
            _ => self.retry_after,
        };
        let operator = kind == ProblemKind::OperatorOnly;
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        // Read by the layers around the handler.
        response.extensions_mut().insert(kind);
        if delayed {
            response.extensions_mut().insert(Delayed);
        }
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = retry_after {
            // Rounded up, so that a client that waits this long is not rejected again.
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

/// Responds to unknown paths.
pub async fn not_found() -> Response {
    ProblemKind::NotFound.into_response()
}

/// Responds to methods that a path does not support.
pub async fn method_not_allowed() -> Response {
    ProblemKind::MethodNotAllowed.into_response()
}
