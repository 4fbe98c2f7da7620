//! A document in the two forms in which it is sent.

use std::{
    borrow::Cow,
    io::{Read, Write},
};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use tokio::sync::OnceCell;

use crate::{
    secret,
    web::{SharedBody, problem::ProblemKind},
};

/// Clients may keep a document, and ask each time whether it is still the same.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("no-cache");

/// A document that does not change while the process runs.
pub(super) struct Document {
    content_type: HeaderValue,
    /// Weak, as both forms have it.
    etag: HeaderValue,
    /// The form that it came in.
    given: Bytes,
    is_given_as_gzip: bool,
    /// The other form, made when it is first asked for.
    other: OnceCell<Bytes>,
}

impl Document {
    pub(super) fn new(content_type: &str, bytes: Cow<'static, [u8]>, is_gzip: bool) -> Self {
        let given = match bytes {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        let etag = format!("W/\"{}\"", const_hex::encode(&secret::digest(&given)[..16]));
        Self {
            content_type: HeaderValue::from_str(content_type).unwrap_or(HeaderValue::from_static("text/plain")),
            etag: HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"\"")),
            given,
            is_given_as_gzip: is_gzip,
            other: OnceCell::new(),
        }
    }

    /// Whether the client says that it has it.
    pub(super) fn is_known_to(&self, headers: &HeaderMap) -> bool {
        let own = opaque(self.etag.as_bytes());
        let mut known = headers.get_all(header::IF_NONE_MATCH).iter();
        known.any(|tags| tags.as_bytes().split(|&byte| byte == b',').any(|tag| tag == b"*" || opaque(tag) == own))
    }

    pub(super) fn not_modified(&self) -> Response {
        (StatusCode::NOT_MODIFIED, [(header::ETAG, self.etag.clone()), (header::CACHE_CONTROL, CACHE_CONTROL)])
            .into_response()
    }

    /// The document, compressed if the client takes that.
    pub(super) async fn respond(&self, headers: &HeaderMap) -> Response {
        let as_gzip = takes_gzip(headers);
        let bytes = if as_gzip == self.is_given_as_gzip { Ok(self.given.clone()) } else { self.other().await };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(error = &*error, "document not compressed or expanded");
                return ProblemKind::Internal.into_response();
            }
        };
        let headers = [
            (header::CONTENT_TYPE, self.content_type.clone()),
            (header::ETAG, self.etag.clone()),
            (header::CACHE_CONTROL, CACHE_CONTROL),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
        ];
        let mut response = (headers, bytes).into_response();
        response.extensions_mut().insert(SharedBody);
        if as_gzip {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    async fn other(&self) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        let (given, is_gzip) = (self.given.clone(), self.is_given_as_gzip);
        let make = move || if is_gzip { expand(&given) } else { compress(&given) };
        let made = self.other.get_or_try_init(async || tokio::task::spawn_blocking(make).await?.map_err(Into::into));
        made.await.cloned()
    }
}

fn compress(bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish().map(Into::into)
}

fn expand(bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut expanded = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut expanded)?;
    Ok(expanded.into())
}

/// An entity tag without its sign of weakness.
fn opaque(tag: &[u8]) -> &[u8] {
    let tag = tag.trim_ascii();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Whether a response may be compressed (RFC 9110, section 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    codings.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_coding_is_taken_unless_its_weight_is_zero() {
        for value in ["gzip", "br, gzip;q=0.5", "GZIP ; q=1"] {
            assert!(takes_gzip(&headers(header::ACCEPT_ENCODING, value)), "{value}");
        }
        for value in ["", "br", "gzip;q=0", "gzip;q=x", "gzipped"] {
            assert!(!takes_gzip(&headers(header::ACCEPT_ENCODING, value)), "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn both_forms_are_the_same_document() {
        let text = "symbolon ".repeat(100);
        let plain = Document::new("text/plain", text.clone().into_bytes().into(), false);
        let gzip = plain.other().await.expect("compressed");
        assert!(gzip.len() < 100);
        let compressed = Document::new("text/plain", gzip.to_vec().into(), true);
        assert_eq!(compressed.other().await.expect("expanded"), text);
    }

    #[test]
    fn a_client_that_has_it_is_recognised_by_either_form_of_the_tag() {
        let document = Document::new("text/plain", b"text".as_slice().into(), false);
        let tag = document.etag.to_str().expect("text").to_owned();
        for known in [tag.clone(), tag[2..].to_owned(), format!("\"x\", {tag}"), "*".to_owned()] {
            let value = HeaderValue::from_str(&known).expect("a value");
            assert!(document.is_known_to(&HeaderMap::from_iter([(header::IF_NONE_MATCH, value)])), "{known}");
        }
        assert!(!document.is_known_to(&headers(header::IF_NONE_MATCH, "\"x\"")));
    }
}
