//! What is changed in the heads of requests and responses on their way through (RFC 9110, section 7.6).

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

/// They concern one connection, not the message. `te` and `transfer-encoding` are made anew where they are needed.
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

/// What `Connection` may not have removed: it says who asks, and of whom.
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

/// Makes a client's request one to a node.
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
    // Answered here: the body is asked for once the node takes it.
    parts.headers.remove(header::EXPECT);
    parts.headers.remove("http2-settings");
    set_forwarded(&mut parts.headers, peer.ip().to_canonical(), trusted, host.as_ref());
    join_cookies(&mut parts.headers);
    trace(&mut parts.headers);
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

/// Whether a body is coded for its way in chunks, once, or not at all: what else there is would be lost with the header.
pub(super) fn is_plainly_coded(headers: &HeaderMap) -> bool {
    let mut codings = tokens(headers, &header::TRANSFER_ENCODING);
    let is_chunked = |coding: &str| coding.eq_ignore_ascii_case("chunked");
    codings.next().is_none_or(is_chunked) && codings.next().is_none()
}

/// Whether there is at most one length, and it is a number: others may read anything else otherwise.
pub(super) fn has_plain_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let first = lengths.next().map(HeaderValue::as_bytes);
    first.is_none_or(|first| !first.is_empty() && first.iter().all(u8::is_ascii_digit))
        && lengths.all(|length| Some(length.as_bytes()) == first)
}

/// Whether no value begins or ends with white space, which HTTP/2 can carry and HTTP/1.1 can't (RFC 9113, section 8.2.1).
pub(super) fn has_plain_values(headers: &HeaderMap) -> bool {
    let is_space = |byte: Option<&u8>| byte.is_some_and(|byte| b" \t".contains(byte));
    headers.values().map(HeaderValue::as_bytes).all(|value| !is_space(value.first()) && !is_space(value.last()))
}

/// Whether a request says in one way only of which host it asks what (RFC 9112, section 3.2).
pub(super) fn has_plain_target(parts: &request::Parts) -> bool {
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

/// Removes what concerns the connection with the node.
pub(super) fn prepare_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        for name in nominated(headers) {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The headers that `Connection` names, but for those that it may not.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens(headers, &header::CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| !PROTECTED.contains(name))
        .collect()
}

/// Whether a list header has the token.
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

/// HTTP/2 may split what HTTP/1.1 has in one header (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// A prepared request as HTTP/2 has it: whom it is for is in the target.
pub(super) fn prepare_http2(parts: &mut request::Parts, node: &Authority) {
    if parts.uri.authority().is_some() {
        // It came back from another node.
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

/// Says whom the request came from. What the peer says of that is kept only of a trusted proxy.
fn set_forwarded(headers: &mut HeaderMap, peer: IpAddr, trusted: &Networks, host: Option<&HeaderValue>) {
    let address = peer.to_string();
    let mut chain: Vec<&[u8]> = Vec::new();
    if trusted.contain(peer) {
        chain.extend(headers.get_all(&X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes));
    }
    chain.push(address.as_bytes());
    // Whatever strangers wrote is passed on as it is: what has been a header's value can be one again.
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

/// Gives the request an id and a place in a trace (W3C Trace Context), or keeps those it has.
fn trace(headers: &mut HeaderMap) {
    if !headers.get(&REQUEST_ID).is_some_and(|id| is_valid_request_id(id.as_bytes())) {
        let id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
        if let Ok(id) = HeaderValue::from_str(id.as_hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer())) {
            headers.insert(REQUEST_ID, id);
        }
    }
    let (trace, flags) =
        headers.get(&TRACE_PARENT).and_then(|value| trace_parent(value.as_bytes())).unwrap_or_else(|| {
            headers.remove(TRACE_STATE);
            // Not sampled: nobody asked for it.
            (fastrand::u128(1..), 0)
        });
    let parent = format!("00-{trace:032x}-{:016x}-{flags:02x}", fastrand::u64(1..));
    if let Ok(parent) = HeaderValue::from_str(&parent) {
        headers.insert(TRACE_PARENT, parent);
    }
}

/// The trace's id and flags.
fn trace_parent(value: &[u8]) -> Option<(u128, u8)> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| !byte.is_ascii_uppercase()))?;
    let mut fields = text.split('-');
    let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let has_form = version.len() == 2 && trace.len() == 32 && parent.len() == 16 && flags.len() == 2;
    // A later version may have more fields.
    let version = u8::from_str_radix(version, 16).ok().filter(|version| *version != 255)?;
    let is_whole = version > 0 || fields.next().is_none();
    let (trace, parent) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(parent, 16).ok()?);
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (has_form && is_whole && trace != 0 && parent != 0).then_some((trace, flags & 1))
}

fn authority_value(authority: &Authority) -> HeaderValue {
    HeaderValue::from_str(authority.as_str()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SettingValue;

    fn prepared(target: &str, headers: &[(&str, &str)], peer: &str) -> request::Parts {
        let mut request = http::Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        let trusted = Networks::from_text("10.0.0.0/8").expect("networks");
        let peer = SocketAddr::new(peer.parse().expect("an address"), 4711);
        prepare_request(&mut parts, peer, &trusted, &"node:8080".parse().expect("an authority"), false);
        parts
    }

    fn value<'a>(parts: &'a request::Parts, name: &str) -> Option<&'a str> {
        parts.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    #[test]
    fn what_concerns_the_connection_stays_here() {
        let parts = prepared(
            "/",
            &[
                ("connection", "keep-alive, X-Mine, upgrade"),
                ("connection", "close"),
                ("x-mine", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("proxy-authorization", "Basic x"),
                ("te", "gzip"),
                ("upgrade", "websocket"),
                ("expect", "100-continue"),
                ("x-other", "2"),
            ],
            "192.0.2.1",
        );
        for name in
            ["connection", "x-mine", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade", "expect"]
        {
            assert_eq!(value(&parts, name), None, "{name}");
        }
        assert_eq!(value(&parts, "x-other"), Some("2"));
    }

    #[test]
    fn a_connection_header_can_not_take_away_who_asks() {
        let parts = prepared(
            "/",
            &[
                ("host", "a.example"),
                ("authorization", "Bearer t"),
                ("cookie", "c=1"),
                ("connection", "Host, Authorization, Cookie, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto"),
            ],
            "192.0.2.1",
        );
        assert_eq!(value(&parts, "host"), Some("a.example"));
        assert_eq!(value(&parts, "authorization"), Some("Bearer t"));
        assert_eq!(value(&parts, "cookie"), Some("c=1"));
        assert_eq!(value(&parts, "x-forwarded-for"), Some("192.0.2.1"));
    }

    #[test]
    fn what_a_stranger_says_of_itself_is_not_passed_on() {
        let said = [
            ("host", "a.example"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "b.example"),
            ("forwarded", "for=203.0.113.9"),
        ];
        let strange = prepared("/", &said, "192.0.2.1");
        assert_eq!(value(&strange, "x-forwarded-for"), Some("192.0.2.1"));
        assert_eq!(value(&strange, "x-forwarded-proto"), Some("http"));
        assert_eq!(value(&strange, "x-forwarded-host"), Some("a.example"));
        assert_eq!(value(&strange, "forwarded"), None);
        let trusted = prepared("/", &said, "10.1.2.3");
        assert_eq!(value(&trusted, "x-forwarded-for"), Some("203.0.113.9, 10.1.2.3"));
        assert_eq!(value(&trusted, "x-forwarded-proto"), Some("https"));
        assert_eq!(value(&trusted, "x-forwarded-host"), Some("b.example"));
    }

    #[test]
    fn the_target_of_a_request_to_a_proxy_is_its_host() {
        let parts = prepared("http://a.example:81/x?y=1", &[("host", "b.example")], "192.0.2.1");
        assert_eq!((parts.uri.to_string().as_str(), value(&parts, "host")), ("/x?y=1", Some("a.example:81")));
        assert_eq!(value(&prepared("/", &[], "192.0.2.1"), "host"), Some("node:8080"));
    }

    #[test]
    fn cookies_that_came_apart_go_as_one_header() {
        let parts = prepared("/", &[("cookie", "a=1"), ("cookie", "b=2")], "192.0.2.1");
        assert_eq!(value(&parts, "cookie"), Some("a=1; b=2"));
    }

    #[test]
    fn http2_has_the_host_in_the_target() {
        let mut parts = prepared("/x?y=1", &[("host", "a.example")], "192.0.2.1");
        prepare_http2(&mut parts, &"node:8080".parse().expect("an authority"));
        assert_eq!(parts.uri.to_string(), "http://a.example/x?y=1");
        assert_eq!(value(&parts, "host"), None);
    }

    #[test]
    fn a_trace_goes_on_under_a_new_parent_and_a_broken_one_is_begun_anew() {
        let known = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parts = prepared("/", &[("traceparent", known), ("tracestate", "a=1")], "192.0.2.1");
        let parent = value(&parts, "traceparent").expect("a parent");
        assert!(parent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && parent.ends_with("-01"), "{parent}");
        assert!(parent != known && value(&parts, "tracestate") == Some("a=1"));
        for wrong in [
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "nothing",
        ] {
            let parts = prepared("/", &[("traceparent", wrong), ("tracestate", "a=1")], "192.0.2.1");
            let parent = value(&parts, "traceparent").expect("a parent");
            assert!(trace_parent(parent.as_bytes()).is_some() && !parent.contains("4bf92f"), "{wrong}: {parent}");
            assert_eq!(value(&parts, "tracestate"), None, "{wrong}");
        }
    }

    #[test]
    fn a_request_has_an_id_that_is_fit_to_be_repeated() {
        let id = |given: &str| {
            value(&prepared("/", &[("x-request-id", given)], "192.0.2.1"), "x-request-id").map(str::to_owned)
        };
        assert_eq!(id("abc-1").as_deref(), Some("abc-1"));
        assert!(id("a b").is_some_and(|id| id.len() == 36));
    }
}
