//! Changes to the headers of forwarded requests and responses (RFC 9110, section 7.6).

use std::net::{IpAddr, SocketAddr};

use http::{
    HeaderMap, HeaderName, HeaderValue, header, request,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::{
    config::Networks,
    web::{address::X_FORWARDED_FOR, request_id::is_valid_request_id},
};

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// Headers of a single connection. `te` and `transfer-encoding` are set again where needed.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Headers that stay even if `Connection` names them: they identify the client and the target.
const PROTECTED: [HeaderName; 8] = [
    header::HOST,
    header::AUTHORIZATION,
    header::COOKIE,
    header::CONTENT_LENGTH,
    header::FORWARDED,
    X_FORWARDED_FOR,
    FORWARDED_HOST,
    FORWARDED_PROTO,
];

/// Turns a client's request into a request to `node`.
pub(super) fn prepare_request(
    parts: &mut request::Parts,
    peer: SocketAddr,
    trusted: &Networks,
    node: &Authority,
    body_is_chunked: bool,
) {
    // The target's authority wins over `Host` (RFC 9112, section 3.2.2).
    let host = match parts.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => parts.headers.remove(header::HOST),
    };
    let takes_trailers = has_token(&parts.headers, &header::TE, "trailers");
    remove_hop_by_hop(&mut parts.headers);
    // The gateway itself sends 100 (Continue), when it begins to read the body.
    parts.headers.remove(header::EXPECT);
    parts.headers.remove("http2-settings");
    set_forwarded(&mut parts.headers, peer.ip().to_canonical(), trusted, host.as_ref());
    join_cookies(&mut parts.headers);
    set_trace_context(&mut parts.headers);
    parts.headers.insert(header::HOST, host.unwrap_or_else(|| authority_value(node)));
    if takes_trailers {
        parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if body_is_chunked {
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let path = parts.uri.path_and_query().cloned();
    parts.uri = path.map_or_else(|| http::Uri::from_static("/"), http::Uri::from);
    parts.version = http::Version::HTTP_11;
    parts.extensions.clear();
}

/// Returns whether the only transfer coding, if there is one, is `chunked`. Others are not supported.
pub(super) fn has_supported_transfer_coding(headers: &HeaderMap) -> bool {
    let mut codings = tokens(headers, &header::TRANSFER_ENCODING);
    let is_chunked = |coding: &str| coding.eq_ignore_ascii_case("chunked");
    codings.next().is_none_or(is_chunked) && codings.next().is_none()
}

/// Returns whether all `Content-Length` values are the same number. Other values allow request smuggling.
pub(super) fn has_valid_content_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let first = lengths.next().map(HeaderValue::as_bytes);
    first.is_none_or(|first| !first.is_empty() && first.iter().all(u8::is_ascii_digit))
        && lengths.all(|length| Some(length.as_bytes()) == first)
}

/// Returns whether no value begins or ends with white space. HTTP/2 can carry such values, HTTP/1.1 can't (RFC 9113,
/// section 8.2.1).
pub(super) fn has_trimmed_values(headers: &HeaderMap) -> bool {
    let is_space = |byte: Option<&u8>| byte.is_some_and(|byte| b" \t".contains(byte));
    headers.values().map(HeaderValue::as_bytes).all(|value| !is_space(value.first()) && !is_space(value.last()))
}

/// Returns whether the request has one valid host and a path, or `*` for `OPTIONS` (RFC 9112, section 3.2).
pub(super) fn has_unambiguous_target(parts: &request::Parts) -> bool {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (host, others) = (hosts.next(), hosts.count());
    let is_host =
        |host: &HeaderValue| Authority::try_from(host.as_bytes()).is_ok_and(|host| !host.as_str().contains('@'));
    let has_host = match parts.uri.authority() {
        Some(authority) => parts.uri.scheme().is_some() && !authority.as_str().contains('@'),
        None => host.is_some() || parts.version < http::Version::HTTP_11,
    };
    let path = parts.uri.path();
    let is_path = path.starts_with('/') || (path == "*" && parts.method == http::Method::OPTIONS);
    has_host && is_path && others == 0 && host.is_none_or(is_host)
}

pub(super) fn prepare_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        for name in connection_options(headers) {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Returns the headers that `Connection` names, except protected ones.
fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens(headers, &header::CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| !PROTECTED.contains(name))
        .collect()
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Joins `Cookie` headers, which HTTP/2 may split (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// Converts a prepared request to HTTP/2: the host moves to the target.
pub(super) fn convert_to_http2(parts: &mut request::Parts, node: &Authority) {
    if parts.uri.authority().is_some() {
        // Already converted for another node.
        return;
    }
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.remove(header::CONNECTION);
    let host = parts.headers.remove(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut uri = http::uri::Parts::default();
    (uri.scheme, uri.authority, uri.path_and_query) =
        (Some(Scheme::HTTP), host.or_else(|| Some(node.clone())), Some(path));
    if let Ok(uri) = http::Uri::from_parts(uri) {
        parts.uri = uri;
    }
    parts.version = http::Version::HTTP_2;
}

/// Sets the `X-Forwarded-*` headers. Existing forwarding headers are kept only from a trusted proxy.
fn set_forwarded(headers: &mut HeaderMap, peer: IpAddr, trusted: &Networks, host: Option<&HeaderValue>) {
    let address = peer.to_string();
    let mut chain: Vec<&[u8]> = Vec::new();
    if trusted.contain(peer) {
        chain.extend(headers.get_all(&X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes));
    }
    chain.push(address.as_bytes());
    // Can't fail: joining valid header values gives a valid one.
    let chain = HeaderValue::from_bytes(&chain.join(&b", "[..]));
    if !trusted.contain(peer) {
        for name in [&header::FORWARDED, &REAL_IP, &FORWARDED_HOST, &FORWARDED_PROTO] {
            headers.remove(name);
        }
    }
    if let Ok(chain) = chain {
        headers.insert(X_FORWARDED_FOR, chain);
    }
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    if let Some(host) = host {
        headers.entry(FORWARDED_HOST).or_insert_with(|| host.clone());
    }
}

/// Sets `x-request-id` and the W3C trace context, and keeps valid ones of the client.
fn set_trace_context(headers: &mut HeaderMap) {
    if !headers.get(&REQUEST_ID).is_some_and(|id| is_valid_request_id(id.as_bytes())) {
        let id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
        if let Ok(id) = HeaderValue::from_str(id.as_hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer())) {
            headers.insert(REQUEST_ID, id);
        }
    }
    let (trace, flags) =
        headers.get(&TRACE_PARENT).and_then(|value| parse_traceparent(value.as_bytes())).unwrap_or_else(|| {
            headers.remove(TRACE_STATE);
            // A new trace is not sampled.
            (fastrand::u128(1..), 0)
        });
    let parent = format!("00-{trace:032x}-{:016x}-{flags:02x}", fastrand::u64(1..));
    if let Ok(parent) = HeaderValue::from_str(&parent) {
        headers.insert(TRACE_PARENT, parent);
    }
}

/// Returns the trace id and the `sampled` flag of a valid `traceparent`.
fn parse_traceparent(value: &[u8]) -> Option<(u128, u8)> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| !byte.is_ascii_uppercase()))?;
    let mut fields = text.split('-');
    let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let has_form = version.len() == 2 && trace.len() == 32 && parent.len() == 16 && flags.len() == 2;
    // A later version may have more fields.
    let version = u8::from_str_radix(version, 16).ok().filter(|version| *version != 255)?;
    let has_all_fields = version > 0 || fields.next().is_none();
    let (trace, parent) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(parent, 16).ok()?);
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (has_form && has_all_fields && trace != 0 && parent != 0).then_some((trace, flags & 1))
}

fn authority_value(authority: &Authority) -> HeaderValue {
    HeaderValue::from_str(authority.as_str()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
