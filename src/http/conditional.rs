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

/// What both headers look like: `*`, or a list of tags, of which elements may be empty (RFC 9110, section 5.6.1.2).
const TAGS_PATTERN: &str = r#"^(\*|((W/)?"[!#-~\x80-\xff]*")?([ \t]*,[ \t]*((W/)?"[!#-~\x80-\xff]*")?)*)$"#;

/// `If-Match`: the change is made only to one of these versions.
#[derive(Debug)]
pub struct IfMatch(pub Precondition);

/// `If-None-Match`: a reader that has one of these versions needs no body.
#[derive(Debug)]
pub struct IfNoneMatch(Option<Tags>);

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// `*`: any version.
    Any,
    /// One of these versions. Tags that are none of ours are left out: they match nothing.
    Versions(Vec<i64>),
}

/// Which tags can match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Strong ones only.
    Strong,
    /// Weak ones too.
    Weak,
}

/// A response about a user at a version; 304 if the reader has it already.
#[derive(Debug)]
pub struct Versioned<T> {
    /// The version.
    pub version: i64,
    /// The body.
    pub body: T,
}

impl FromRequestParts<App> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        // Whatever is changed exists: `*` asks for no more than that.
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
        let description = "The version that the change is meant for; of another one it is refused.";
        vec![text_parameter("If-Match", ParameterIn::Header, description, TAGS_PATTERN, "*")]
    }
}

impl IntoParams for IfNoneMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "A version that the reader has.";
        vec![text_parameter("If-None-Match", ParameterIn::Header, description, TAGS_PATTERN, "\"1\"")]
    }
}

impl IfNoneMatch {
    /// The response, or 304 without a body.
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
    // Quotes and digits are always a valid header value.
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// What a header says; `None` if it is not there.
///
/// # Errors
/// 400 for what is no entity tag.
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
        versions.extend(list(line, comparison).ok_or_else(malformed)?);
    }
    Ok(Some(Tags::Versions(versions)))
}

/// The versions in one line of a list; `None` if it is none. A tag may hold commas, and elements may be empty.
fn list(mut rest: &[u8], comparison: Comparison) -> Option<Vec<i64>> {
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
            versions.extend(version(opaque).filter(|_| !is_weak || comparison == Comparison::Weak));
            rest = after.strip_prefix(b"\"")?.trim_ascii_start();
        }
        match rest.split_first() {
            None => return Some(versions),
            Some((b',', after)) => rest = after,
            Some(_) => return None,
        }
    }
}

/// The version that a tag of ours stands for.
fn version(opaque: &[u8]) -> Option<i64> {
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
    fn tags_are_read_as_versions() {
        assert_eq!(versions("\"7\"", Comparison::Strong), [7]);
        assert_eq!(versions("\"7\",\"8\" ,\t\"9\"", Comparison::Strong), [7, 8, 9]);
        assert!(matches!(read(&["*"], Comparison::Strong), Ok(Some(Tags::Any))));
        assert!(matches!(read(&[], Comparison::Strong), Ok(None)));
        assert_eq!(read(&["\"7\"", "\"8\""], Comparison::Strong).ok(), Some(Some(Tags::Versions(vec![7, 8]))));
    }

    #[test]
    fn a_weak_tag_matches_only_a_weak_comparison() {
        assert_eq!(versions("W/\"7\"", Comparison::Strong), [0; 0]);
        assert_eq!(versions("W/\"7\"", Comparison::Weak), [7]);
    }

    #[test]
    fn tags_of_others_match_nothing() {
        for text in ["\"x\"", "\"07\"", "\"+7\"", "\"7,8\"", "\"\"", "\"W/7\"", "\"99999999999999999999\""] {
            assert_eq!(versions(text, Comparison::Weak), [0; 0], "{text}");
        }
        let latin_1 = HeaderValue::from_bytes(b"\"\xe9\"").expect("a header value");
        let headers = HeaderMap::from_iter([(header::IF_MATCH, latin_1)]);
        assert_eq!(tags(&headers, header::IF_MATCH, Comparison::Weak).ok(), Some(Some(Tags::Versions(vec![]))));
    }

    #[test]
    fn elements_of_a_list_may_be_empty() {
        assert_eq!(versions(", \"7\",, \"8\",", Comparison::Strong), [7, 8]);
        for text in ["", ",", " , ,"] {
            assert_eq!(versions(text, Comparison::Strong), [0; 0], "{text:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_tags_is_malformed() {
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
