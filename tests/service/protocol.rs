//! HTTP: headers, timeouts, and invalid requests.

use std::time::{Duration, Instant};

use reqwest::Method;

use crate::support::{Connection, Service, assert_timed_out, until};

/// The beginning of a connection of HTTP/2: the preface and an empty SETTINGS frame.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A login of whose body only the first byte is sent.
const LOGIN_WITHOUT_BODY: &str =
    "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";

/// Sends bytes and reads until the server closes.
async fn exchange(service: &Service, bytes: &[u8]) -> String {
    let mut client = Connection::to(service).await;
    client.send(bytes).await;
    client.read_to_end().await
}

#[tokio::test]
async fn every_response_has_security_headers_and_a_request_id() {
    let service = Service::start().await;
    for path in ["/v1/health/live", "/nothing", "/v1/session", "/docs/", "/openapi.json"] {
        let reply = service.get(path).send().await;
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(reply.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(reply.header("referrer-policy"), "no-referrer", "{path}");
        assert!(reply.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        assert_eq!(reply.header("x-request-id").len(), 36, "{path}");
    }
}

#[tokio::test]
async fn a_valid_request_id_is_kept() {
    let service = Service::start().await;
    let id = async |id: &str| {
        service.get("/v1/health/live").header("x-request-id", id).send().await.header("x-request-id").to_owned()
    };
    assert_eq!(id("job-7.a:b_c").await, "job-7.a:b_c");
    for unfit in ["a b", "<script>", &"x".repeat(129)] {
        assert_eq!(id(unfit).await.len(), 36);
    }
}

#[tokio::test]
async fn configured_origins_may_call_the_api() {
    let service = Service::with(&[("SYMBOLON_CORS_ORIGINS", "https://app.example")]).await;
    let preflight = async |origin: &str| {
        let request = service.request(Method::OPTIONS, "/v1/login").header("origin", origin);
        request.header("access-control-request-method", "POST").send().await
    };
    assert_eq!(preflight("https://app.example").await.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(preflight("https://evil.example").await.header("access-control-allow-origin"), "");
    // A preflight is answered by another layer than all other requests.
    assert_eq!(preflight("https://app.example").await.header("x-request-id").len(), 36);
    let none = Service::start().await;
    let reply = none.get("/v1/health/live").header("origin", "https://app.example").send().await;
    assert_eq!(reply.header("access-control-allow-origin"), "");
}

/// The timeouts of these tests, in the settings `1s`.
const TIMEOUT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_stalled_head_is_cut_off_after_its_timeout() {
    let service = Service::with(&[("SYMBOLON_HEADER_TIMEOUT", "1s")]).await;
    let begun = Instant::now();
    assert_eq!(exchange(&service, b"GET /v1/health/live HTTP/1.1\r\nhost: a\r\n").await, "");
    assert_timed_out(begun, TIMEOUT);
}

#[tokio::test]
async fn a_connection_without_a_request_is_cut_off_after_its_timeout() {
    let service = Service::with(&[("SYMBOLON_HEADER_TIMEOUT", "1s")]).await;
    for beginning in [&b""[..], b"PRI * HT", HTTP2_PREFACE] {
        let begun = Instant::now();
        exchange(&service, beginning).await;
        assert_timed_out(begun, TIMEOUT);
    }
}

#[tokio::test]
async fn a_stalled_body_is_answered_after_its_timeout() {
    let service = Service::with(&[("SYMBOLON_BODY_TIMEOUT", "1s")]).await;
    let begun = Instant::now();
    let mut client = Connection::to(&service).await;
    client.send(LOGIN_WITHOUT_BODY).await;
    let (status, body) = client.response().await;
    assert_timed_out(begun, TIMEOUT);
    assert_eq!(status, 408, "{body}");
    assert!(body.contains("urn:symbolon:problem:request-timeout"), "{body}");
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let request = format!(
        "GET /v1/session HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    assert!(exchange(&service, request.as_bytes()).await.starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn invalid_http_is_refused() {
    let service = Service::start().await;
    for invalid in
        [&b"\0\0\0\0\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"GET /v1/health/live HTTP/1.1\r\nhost a\r\n\r\n"]
    {
        let reply = exchange(&service, invalid).await;
        assert!(reply.starts_with("HTTP/1.1 400 "), "{reply:?}");
    }
    assert_eq!(service.get("/v1/health/live").send().await.status, 200);
}

#[tokio::test]
async fn requests_without_their_bodies_are_counted_as_in_flight() {
    let service = Service::start().await;
    let in_flight = async || {
        let balancer = service.operator_view("/balancer").await;
        balancer["nodes"][0]["current_connections"].as_u64().expect("a number")
    };
    assert_eq!(in_flight().await, 1);
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Connection::to(&service).await;
        client.send(LOGIN_WITHOUT_BODY).await;
        clients.push(client);
    }
    until("five more are in flight", async || in_flight().await == 6).await;
    drop(clients);
    until("they are gone", async || in_flight().await == 1).await;
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_accepted() {
    let service = Service::start().await;
    let mut client = Connection::to(&service).await;
    client.send(HTTP2_PREFACE).await;
    assert_eq!(client.read_bytes(9).await[3], 4, "not a SETTINGS frame");
}
