//! Versions as entity tags: `ETag`, `If-Match`, `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1).

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use super::{json::Json, openapi::text_parameter};
use crate::web::problem::{Problem, ProblemKind};
use crate::{app::App, users::Precondition};

/// Pattern of both headers: `*`, or a list of tags. List elements may be empty (RFC 9110, section 5.6.1.2).
const TAGS_PATTERN: &str = r#"^(\*|((W/)?"[!#-~\x80-\xff]*")?([ \t]*,[ \t]*((W/)?"[!#-~\x80-\xff]*")?)*)$"#;

/// `If-Match`: a change applies only to one of these versions.
#[derive(Debug)]
pub struct IfMatch(pub Precondition);

/// `If-None-Match`: a client that has one of these versions gets 304 without a body.
#[derive(Debug)]
pub struct IfNoneMatch(Option<Tags>);

/// The parsed value of a conditional header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// `*`: any version.
    Any,
    /// One of these versions. Tags that this service never issues are left out: they match nothing.
    Versions(Vec<i64>),
}

/// How tags are compared (RFC 9110, section 8.8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Only strong tags match.
    Strong,
    /// Weak tags match too.
    Weak,
}

/// A response body with its version, which is sent as `ETag`.
#[derive(Debug)]
pub struct Versioned<T> {
    pub version: i64,
    pub body: T,
}

impl FromRequestParts<App> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        // `*` only requires that the resource exists, which every change requires anyway.
        Ok(Self(match tags(&parts.headers, header::IF_MATCH, Comparison::Strong)? {
            Some(Tags::Versions(versions)) => Precondition::Versions(versions),
            Some(Tags::Any) | None => Precondition::None,
        }))
    }
}

impl FromRequestParts<App> for IfNoneMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        tags(&parts.headers, header::IF_NONE_MATCH, Comparison::Weak).map(Self)
    }
}

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description =
            "Entity tag of the version to change. The change is refused with 412 if the resource has another version.";
        vec![text_parameter("If-Match", ParameterIn::Header, description, TAGS_PATTERN, "*")]
    }
}

impl IntoParams for IfNoneMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "Entity tag of the version that the client has. If it is still current, the response is 304 without a body.";
        vec![text_parameter("If-None-Match", ParameterIn::Header, description, TAGS_PATTERN, "\"1\"")]
    }
}

impl IfNoneMatch {
    /// Returns `response`, or 304 without a body if the client has its version.
    pub fn respond<T>(&self, response: Versioned<T>) -> Response
    where
        Versioned<T>: IntoResponse,
    {
        let known = match &self.0 {
            Some(Tags::Any) => true,
            Some(Tags::Versions(versions)) => versions.contains(&response.version),
            None => false,
        };
        if known {
            (StatusCode::NOT_MODIFIED, [(header::ETAG, etag(response.version))]).into_response()
        } else {
            response.into_response()
        }
    }
}

impl<T: serde::Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        ([(header::ETAG, etag(self.version))], Json(self.body)).into_response()
    }
}

fn etag(version: i64) -> HeaderValue {
    // The fallback is unreachable: quotes and digits are a valid header value.
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Parses the conditional header `name`; `None` if it is absent.
///
/// # Errors
/// 400 if the value is neither `*` nor a list of entity tags.
pub fn tags(headers: &HeaderMap, name: HeaderName, comparison: Comparison) -> Result<Option<Tags>, Problem> {
    let malformed = || {
        let field = if name == header::IF_MATCH { "If-Match" } else { "If-None-Match" };
        Problem::field(ProblemKind::Malformed, field, "must be * or entity tags, such as \"7\"")
    };
    let mut lines = headers.get_all(&name).iter().map(|value| value.as_bytes().trim_ascii());
    let Some(first) = lines.next() else { return Ok(None) };
    let others: Vec<&[u8]> = lines.collect();
    if first == b"*" && others.is_empty() {
        return Ok(Some(Tags::Any));
    }
    let mut versions = Vec::new();
    for line in std::iter::once(first).chain(others) {
        versions.extend(parse_list(line, comparison).ok_or_else(malformed)?);
    }
    Ok(Some(Tags::Versions(versions)))
}

/// Returns the versions in one line of a list, or `None` if it is malformed. A tag may contain commas, and elements may be
/// empty.
fn parse_list(mut rest: &[u8], comparison: Comparison) -> Option<Vec<i64>> {
    let mut versions = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            let (is_weak, tag) = rest.strip_prefix(b"W/").map_or((false, rest), |tag| (true, tag));
            let tag = tag.strip_prefix(b"\"")?;
            let (opaque, after) = tag.split_at(tag.iter().position(|&byte| byte == b'"')?);
            if !opaque.iter().all(|&byte| byte.is_ascii_graphic() || byte >= 0x80) {
                return None;
            }
            versions.extend(parse_version(opaque).filter(|_| !is_weak || comparison == Comparison::Weak));
            rest = after.strip_prefix(b"\"")?.trim_ascii_start();
        }
        match rest.split_first() {
            None => return Some(versions),
            Some((b',', after)) => rest = after,
            Some(_) => return None,
        }
    }
}

/// Returns the version that a tag stands for, or `None` if this service never issues the tag.
fn parse_version(opaque: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(opaque).ok()?;
    text.parse().ok().filter(|version: &i64| version.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str], comparison: Comparison) -> Result<Option<Tags>, Problem> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::IF_MATCH, HeaderValue::from_str(line).expect("a header value"));
        }
        tags(&headers, header::IF_MATCH, comparison)
    }

    fn versions(text: &str, comparison: Comparison) -> Vec<i64> {
        match read(&[text], comparison) {
            Ok(Some(Tags::Versions(versions))) => versions,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn tags_are_parsed_as_versions() {
        assert_eq!(versions("\"7\"", Comparison::Strong), [7]);
        assert_eq!(versions("\"7\",\"8\" ,\t\"9\"", Comparison::Strong), [7, 8, 9]);
        assert!(matches!(read(&["*"], Comparison::Strong), Ok(Some(Tags::Any))));
        assert!(matches!(read(&[], Comparison::Strong), Ok(None)));
        assert_eq!(read(&["\"7\"", "\"8\""], Comparison::Strong).ok(), Some(Some(Tags::Versions(vec![7, 8]))));
    }

    #[test]
    fn weak_tags_match_only_in_weak_comparison() {
        assert_eq!(versions("W/\"7\"", Comparison::Strong), [0; 0]);
        assert_eq!(versions("W/\"7\"", Comparison::Weak), [7]);
    }

    #[test]
    fn foreign_tags_match_nothing() {
        for text in ["\"x\"", "\"07\"", "\"+7\"", "\"7,8\"", "\"\"", "\"W/7\"", "\"99999999999999999999\""] {
            assert_eq!(versions(text, Comparison::Weak), [0; 0], "{text}");
        }
        let latin_1 = HeaderValue::from_bytes(b"\"\xe9\"").expect("a header value");
        let headers = HeaderMap::from_iter([(header::IF_MATCH, latin_1)]);
        assert_eq!(tags(&headers, header::IF_MATCH, Comparison::Weak).ok(), Some(Some(Tags::Versions(vec![]))));
    }

    #[test]
    fn list_elements_may_be_empty() {
        assert_eq!(versions(", \"7\",, \"8\",", Comparison::Strong), [7, 8]);
        for text in ["", ",", " , ,"] {
            assert_eq!(versions(text, Comparison::Strong), [0; 0], "{text:?}");
        }
    }

    #[test]
    fn values_other_than_tag_lists_are_malformed() {
        for text in [
            "7",
            "\"7",
            "7\"",
            "\"",
            "W/7",
            "w/\"7\"",
            "W/ \"7\"",
            "W/",
            "\"7\" \"8\"",
            "\"7\"\"8\"",
            "\"7\"x",
            "\"7\"; a",
            "\"a b\"",
            "**",
            "*, \"7\"",
            "\"7\", *",
            "*,",
            "null",
        ] {
            assert!(read(&[text], Comparison::Weak).is_err(), "{text}");
        }
        assert!(read(&["*", "*"], Comparison::Weak).is_err() && read(&["\"7\"", "*"], Comparison::Weak).is_err());
    }
}
