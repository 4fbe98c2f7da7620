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
fn hop_by_hop_headers_are_removed() {
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
fn a_connection_header_cannot_remove_protected_headers() {
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
fn forwarding_headers_are_accepted_only_from_trusted_proxies() {
    let forwarding_headers = [
        ("host", "a.example"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "b.example"),
        ("forwarded", "for=203.0.113.9"),
    ];
    let untrusted = prepared("/", &forwarding_headers, "192.0.2.1");
    assert_eq!(value(&untrusted, "x-forwarded-for"), Some("192.0.2.1"));
    assert_eq!(value(&untrusted, "x-forwarded-proto"), Some("http"));
    assert_eq!(value(&untrusted, "x-forwarded-host"), Some("a.example"));
    assert_eq!(value(&untrusted, "forwarded"), None);
    let trusted = prepared("/", &forwarding_headers, "10.1.2.3");
    assert_eq!(value(&trusted, "x-forwarded-for"), Some("203.0.113.9, 10.1.2.3"));
    assert_eq!(value(&trusted, "x-forwarded-proto"), Some("https"));
    assert_eq!(value(&trusted, "x-forwarded-host"), Some("b.example"));
}

#[test]
fn the_host_comes_from_an_absolute_target() {
    let parts = prepared("http://a.example:81/x?y=1", &[("host", "b.example")], "192.0.2.1");
    assert_eq!((parts.uri.to_string().as_str(), value(&parts, "host")), ("/x?y=1", Some("a.example:81")));
    assert_eq!(value(&prepared("/", &[], "192.0.2.1"), "host"), Some("node:8080"));
}

#[test]
fn split_cookies_are_joined_in_one_header() {
    let parts = prepared("/", &[("cookie", "a=1"), ("cookie", "b=2")], "192.0.2.1");
    assert_eq!(value(&parts, "cookie"), Some("a=1; b=2"));
}

#[test]
fn http2_requests_have_the_host_in_the_target() {
    let mut parts = prepared("/x?y=1", &[("host", "a.example")], "192.0.2.1");
    convert_to_http2(&mut parts, &"node:8080".parse().expect("an authority"));
    assert_eq!(parts.uri.to_string(), "http://a.example/x?y=1");
    assert_eq!(value(&parts, "host"), None);
}

#[test]
fn a_valid_trace_continues_under_a_new_parent_and_an_invalid_one_is_replaced() {
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
        assert!(parse_traceparent(parent.as_bytes()).is_some() && !parent.contains("4bf92f"), "{wrong}: {parent}");
        assert_eq!(value(&parts, "tracestate"), None, "{wrong}");
    }
}

#[test]
fn a_valid_request_id_is_kept_and_an_invalid_one_replaced() {
    let id =
        |given: &str| value(&prepared("/", &[("x-request-id", given)], "192.0.2.1"), "x-request-id").map(str::to_owned);
    assert_eq!(id("abc-1").as_deref(), Some("abc-1"));
    assert!(id("a b").is_some_and(|id| id.len() == 36));
}
