//! The OpenAPI document: generated from the handlers, completed from the table of problems.
//!
//! A handler lists its own problems by slug, in the description of their status. This module adds the problems that
//! operations share (invalid bodies, tokens and parameters, failures of the service) and the links between operations.
//! Where JSON Schema can express a rule, the schema is exact: a value is valid if and only if the service accepts it.
//! `tests/contract/run` tests the service against this document.

mod links;

use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, HeaderBuilder, Ref, RefOr, Required, Response, ResponseBuilder,
        example::ExampleBuilder,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        schema::{ObjectBuilder, Schema, SchemaType, Type},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use crate::web::{
    cookie,
    problem::{FieldError, Problem, ProblemBody, ProblemKind},
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Symbolon",
        description = "Login, sessions and preferences on sharded storage.\n\nErrors are `application/problem+json` (RFC 9457) \
            with a stable `type`. Requests with unknown or duplicate JSON members are rejected. Every response has an \
            `x-request-id` header.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "This instance")),
    tags(
        (name = "users", description = "User accounts"),
        (name = "preferences", description = "One JSON document per user"),
        (name = "sessions", description = "Login and sessions"),
        (name = "health", description = "For load balancers and orchestrators"),
        (name = "gateway", description = "Operator endpoints of a gateway; instances do not have them"),
        (name = "operator", description = "Operation of the service; needs an operator token, or a session with the permission `admin`"),
    ),
    components(schemas(ProblemBody, FieldError)),
)]
struct Document;

/// Returns the document without paths; the router adds them.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Adds security schemes, shared problems and links. Call it after all paths have been added.
pub(super) fn complete(document: &mut utoipa::openapi::OpenApi) {
    SecuritySchemes.modify(document);
    Problems.modify(document);
    links::add(document);
}

/// Returns a string parameter with a pattern. It is required if its location is the path.
pub(super) fn text_parameter(
    name: &str,
    location: ParameterIn,
    description: &str,
    pattern: &str,
    example: &str,
) -> Parameter {
    let required = if location == ParameterIn::Path { Required::True } else { Required::False };
    let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(location)
        .required(required)
        .description(Some(description))
        .schema(Some(schema))
        .example(Some(example.into()))
        .build()
}

const SESSION_COOKIE: &str = "session_cookie";

fn session(scheme: &str) -> SecurityRequirement {
    SecurityRequirement::new::<_, [&str; 0], &str>(scheme, [])
}

struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = |description: &str| {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description));
            SecurityScheme::Http(scheme.build())
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("session", bearer("Session token, as returned by login."));
        let cookie = ApiKeyValue::with_description(
            cookie::NAME,
            "Session cookie of a browser, set by a login with `\"cookie\": true`. Requests with an unsafe method must come \
             from a page of the public origin.",
        );
        components.add_security_scheme(SESSION_COOKIE, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        components.add_security_scheme("operator_token", bearer("Operator token, as configured in the settings."));
    }
}

struct Problems;

impl Modify for Problems {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut document.paths.paths {
            for (is_safe, operation) in operations(item) {
                complete_operation(path, is_safe, operation);
            }
        }
    }
}

/// Returns each operation, and whether its method is safe.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    let unsafe_ones = [&mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter();
    let all = unsafe_ones.map(|operation| (false, operation)).chain([(true, &mut item.get)]);
    all.filter_map(|(is_safe, operation)| Some((is_safe, operation.as_mut()?)))
}

fn complete_operation(path: &str, is_safe: bool, operation: &mut Operation) {
    if path.starts_with("/v1/health") {
        return;
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(Parameter { schema: Some(RefOr::T(Schema::Object(object))), .. }) = parameter {
            remove_null(&mut object.schema_type);
        }
    }
    let mut kinds: Vec<ProblemKind> =
        operation.responses.responses.values().filter_map(listed_problems).flatten().collect();
    kinds.extend(common_problems(path, operation));
    if let Some(security) = operation.security.as_mut().filter(|security| security.contains(&session("session"))) {
        security.push(session(SESSION_COOKIE));
        kinds.extend((!is_safe).then_some(ProblemKind::CrossSite));
    }
    operation.responses.responses.retain(|_, response| listed_problems(response).is_none());
    for status in kinds.iter().map(|kind| kind.status()) {
        let of_status = ProblemKind::ALL.iter().copied().filter(|kind| kind.status() == status && kinds.contains(kind));
        operation.responses.responses.insert(status.as_u16().to_string(), RefOr::T(response(of_status)));
    }
}

/// Removes null from a parameter's types. utoipa derives it from `Option`, but a parameter can only be absent.
fn remove_null(schema_type: &mut SchemaType) {
    if let SchemaType::Array(types) = schema_type {
        types.retain(|type_| *type_ != Type::Null);
        if let [type_] = types.as_slice() {
            *schema_type = SchemaType::Type(type_.clone());
        }
    }
}

/// Returns the problems that a response's description lists by slug, or `None` if it contains anything else.
fn listed_problems(response: &RefOr<Response>) -> Option<Vec<ProblemKind>> {
    let RefOr::T(response) = response else { return None };
    let find = |slug: &str| ProblemKind::ALL.iter().copied().find(|kind| kind.slug() == slug);
    response.description.split(", ").map(find).collect()
}

/// Returns the problems that follow from an operation's path, parameters, body and security.
fn common_problems(path: &str, operation: &Operation) -> Vec<ProblemKind> {
    use ProblemKind::{
        BodyTimeout, Forbidden, Internal, Malformed, OperatorOnly, Overloaded, Timeout, TooLarge, TooManyAttempts,
        Unauthenticated, Unavailable, UnsupportedType,
    };
    if path.starts_with("/v1/operator/gateway") {
        return vec![Malformed, OperatorOnly, TooManyAttempts];
    }
    let mut kinds = vec![Internal, Unavailable, Timeout];
    if operation.request_body.is_some() {
        kinds.extend([Malformed, BodyTimeout, TooLarge, UnsupportedType]);
    }
    if operation.parameters.is_some() {
        kinds.push(Malformed);
    }
    let is_operator = path.starts_with("/v1/operator");
    if is_operator {
        kinds.extend([OperatorOnly, Forbidden, TooManyAttempts]);
    } else {
        kinds.push(Overloaded);
    }
    if path == "/metrics" {
        kinds.push(TooManyAttempts);
    }
    if !is_operator && operation.security.is_some() && path != "/v1/users" {
        kinds.push(Unauthenticated);
    }
    kinds
}

/// Response headers: name, the statuses that have it, type and description.
const HEADERS: [(&str, &[u16], Type, &str); 2] = [
    ("Retry-After", &[429, 503], Type::Integer, "Seconds to wait before the next attempt."),
    ("WWW-Authenticate", &[401], Type::String, "The authentication scheme, `Bearer`."),
];

/// Returns one response for all problems of a status, with an example of each.
fn response(kinds: impl Iterator<Item = ProblemKind>) -> Response {
    let kinds: Vec<ProblemKind> = kinds.collect();
    let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    for kind in &kinds {
        let value = serde_json::to_value(Problem::example(*kind)).ok();
        let example = ExampleBuilder::new().summary(kind.title()).value(value).build();
        content = content.examples_from_iter([(kind.slug(), example)]);
    }
    let mut response = ResponseBuilder::new().content("application/problem+json", content.build());
    let status = kinds.first().map(|kind| kind.status());
    for (name, of, type_, description) in HEADERS {
        if status.is_some_and(|status| of.contains(&status.as_u16())) {
            let schema = ObjectBuilder::new().schema_type(type_).build();
            let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build();
            response = response.header(name, header);
        }
    }
    let description = kinds.iter().map(|kind| format!("{}.", kind.title())).collect::<Vec<_>>().join(" ");
    response.description(description).build()
}
