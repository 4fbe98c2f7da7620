//! Versions as entity tags: `ETag`, `If-Match`, `If-None-Match` (RFC 9110, section 13).

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::problem::{Problem, ProblemKind};
use crate::{app::App, users::Precondition};

/// `If-Match`: the change is made only to one of these versions.
#[derive(Debug)]
pub struct IfMatch(pub Precondition);

/// `If-None-Match`: a reader that has one of these versions needs no body.
#[derive(Debug)]
pub struct IfNoneMatch(Option<Tags>);

#[derive(Debug)]
enum Tags {
    Any,
    Versions(Vec<i64>),
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
        Ok(Self(match tags(&parts.headers, "If-Match", false)? {
            Some(Tags::Versions(versions)) => Precondition::Versions(versions),
            Some(Tags::Any) | None => Precondition::None,
        }))
    }
}

impl FromRequestParts<App> for IfNoneMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        tags(&parts.headers, "If-None-Match", true).map(Self)
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
        ([(header::ETAG, etag(self.version))], axum::Json(self.body)).into_response()
    }
}

fn etag(version: i64) -> HeaderValue {
    // Quotes and digits are always a valid header value.
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The versions that a header names; `weak` says whether weak tags may match. Tags that are none of ours match nothing.
fn tags(headers: &HeaderMap, name: &'static str, weak: bool) -> Result<Option<Tags>, Problem> {
    let mut versions = None;
    for value in headers.get_all(name) {
        versions.get_or_insert_with(Vec::new);
        let malformed = || Problem::field(ProblemKind::Malformed, name, "must be * or entity tags, such as \"7\"");
        let text = value.to_str().map_err(|_| malformed())?;
        if text.trim() == "*" {
            return Ok(Some(Tags::Any));
        }
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (is_weak, tag) = item.strip_prefix("W/").map_or((false, item), |tag| (true, tag));
            let opaque = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(malformed)?;
            let version = opaque.parse().ok().filter(|version: &i64| version.to_string() == opaque);
            versions.get_or_insert_with(Vec::new).extend(version.filter(|_| weak || !is_weak));
        }
    }
    Ok(versions.map(Tags::Versions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(text: &str, weak: bool) -> Option<Vec<i64>> {
        let headers = HeaderMap::from_iter([(header::IF_MATCH, HeaderValue::from_str(text).expect("a header value"))]);
        match tags(&headers, "If-Match", weak) {
            Ok(Some(Tags::Versions(versions))) => Some(versions),
            Ok(Some(Tags::Any)) => Some(vec![-1]),
            _ => None,
        }
    }

    #[test]
    fn tags_are_read_as_versions() {
        assert_eq!(versions("\"7\"", false), Some(vec![7]));
        assert_eq!(versions("\"7\", \"8\",", false), Some(vec![7, 8]));
        assert_eq!(versions("*", false), Some(vec![-1]));
    }

    #[test]
    fn a_weak_tag_matches_only_a_weak_comparison() {
        assert_eq!(versions("W/\"7\"", false), Some(vec![]));
        assert_eq!(versions("W/\"7\"", true), Some(vec![7]));
    }

    #[test]
    fn tags_of_others_match_nothing_and_other_text_is_refused() {
        assert_eq!(versions("\"x\", \"07\"", false), Some(vec![]));
        assert_eq!(versions("", false), Some(vec![]));
        assert_eq!(versions("7", false), None);
    }
}
