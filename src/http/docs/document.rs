//! A static document in both encodings in which it is sent: plain and gzip.

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

/// Clients may cache a document, and must revalidate it before each use.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("no-cache");

/// A document that does not change while the process runs.
pub(super) struct Document {
    content_type: HeaderValue,
    /// Weak, because both encodings share it.
    etag: HeaderValue,
    /// The document in the encoding in which it was passed in.
    original: Bytes,
    is_original_gzip: bool,
    /// The document in the other encoding, created on first use.
    converted: OnceCell<Bytes>,
}

impl Document {
    pub(super) fn new(content_type: &str, bytes: Cow<'static, [u8]>, is_gzip: bool) -> Self {
        let original = match bytes {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        let etag = format!("W/\"{}\"", const_hex::encode(&secret::digest(&original)[..16]));
        Self {
            content_type: HeaderValue::from_str(content_type).unwrap_or(HeaderValue::from_static("text/plain")),
            etag: HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"\"")),
            original,
            is_original_gzip: is_gzip,
            converted: OnceCell::new(),
        }
    }

    /// Returns whether the client's `If-None-Match` names this document.
    pub(super) fn is_current_for(&self, headers: &HeaderMap) -> bool {
        let own = opaque(self.etag.as_bytes());
        let mut known = headers.get_all(header::IF_NONE_MATCH).iter();
        known.any(|tags| tags.as_bytes().split(|&byte| byte == b',').any(|tag| tag == b"*" || opaque(tag) == own))
    }

    pub(super) fn not_modified(&self) -> Response {
        (StatusCode::NOT_MODIFIED, [(header::ETAG, self.etag.clone()), (header::CACHE_CONTROL, CACHE_CONTROL)])
            .into_response()
    }

    /// Returns the document, compressed if the client accepts gzip.
    pub(super) async fn respond(&self, headers: &HeaderMap) -> Response {
        let as_gzip = accepts_gzip(headers);
        let bytes = if as_gzip == self.is_original_gzip { Ok(self.original.clone()) } else { self.converted().await };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(error = &*error, "compressing or decompressing a document failed");
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

    async fn converted(&self) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        let (original, is_gzip) = (self.original.clone(), self.is_original_gzip);
        let convert = move || if is_gzip { decompress(&original) } else { compress(&original) };
        let converted =
            self.converted.get_or_try_init(async || tokio::task::spawn_blocking(convert).await?.map_err(Into::into));
        converted.await.cloned()
    }
}

fn compress(bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish().map(Into::into)
}

fn decompress(bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut decompressed = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut decompressed)?;
    Ok(decompressed.into())
}

/// Returns an entity tag without the prefix of weak tags.
fn opaque(tag: &[u8]) -> &[u8] {
    let tag = tag.trim_ascii();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Returns whether the client accepts gzip (RFC 9110, section 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
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
    fn gzip_is_accepted_unless_its_weight_is_zero() {
        for value in ["gzip", "br, gzip;q=0.5", "GZIP ; q=1"] {
            assert!(accepts_gzip(&headers(header::ACCEPT_ENCODING, value)), "{value}");
        }
        for value in ["", "br", "gzip;q=0", "gzip;q=x", "gzipped"] {
            assert!(!accepts_gzip(&headers(header::ACCEPT_ENCODING, value)), "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn both_encodings_hold_the_same_document() {
        let text = "symbolon ".repeat(100);
        let plain = Document::new("text/plain", text.clone().into_bytes().into(), false);
        let gzip = plain.converted().await.expect("compressed");
        assert!(gzip.len() < 100);
        let compressed = Document::new("text/plain", gzip.to_vec().into(), true);
        assert_eq!(compressed.converted().await.expect("decompressed"), text);
    }

    #[test]
    fn weak_and_strong_form_of_the_tag_are_recognised() {
        let document = Document::new("text/plain", b"text".as_slice().into(), false);
        let tag = document.etag.to_str().expect("text").to_owned();
        for known in [tag.clone(), tag[2..].to_owned(), format!("\"x\", {tag}"), "*".to_owned()] {
            let value = HeaderValue::from_str(&known).expect("a value");
            assert!(document.is_current_for(&HeaderMap::from_iter([(header::IF_NONE_MATCH, value)])), "{known}");
        }
        assert!(!document.is_current_for(&headers(header::IF_NONE_MATCH, "\"x\"")));
    }
}
