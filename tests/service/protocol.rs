//! HTTP itself: headers, limits and what a raw client gets.

use std::time::Duration;

use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::harness::{DEADLINE, Service};

async fn connect(service: &Service) -> TcpStream {
    TcpStream::connect(service.url.strip_prefix("http://").expect("a URL")).await.expect("a connection")
}

/// Sends bytes and reads until the server closes.
async fn exchange(service: &Service, bytes: &[u8]) -> String {
    let mut stream = connect(service).await;
    stream.write_all(bytes).await.expect("written");
    let mut reply = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut reply)).await.expect("the server closes").expect("a reply");
    String::from_utf8_lossy(&reply).into_owned()
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
async fn a_request_id_is_kept_if_it_is_fit_for_logs() {
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
async fn pages_of_configured_origins_may_call_the_api() {
    let service = Service::with(&[("SYMBOLON_CORS_ORIGINS", "https://app.example")]).await;
    let preflight = async |origin: &str| {
        let request = service.request(Method::OPTIONS, "/v1/login").header("origin", origin);
        request.header("access-control-request-method", "POST").send().await
    };
    assert_eq!(preflight("https://app.example").await.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(preflight("https://evil.example").await.header("access-control-allow-origin"), "");
    // It ends before the layer that all other requests pass.
    assert_eq!(preflight("https://app.example").await.header("x-request-id").len(), 36);
    let none = Service::start().await;
    let reply = none.get("/v1/health/live").header("origin", "https://app.example").send().await;
    assert_eq!(reply.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let service = Service::with(&[("SYMBOLON_HEADER_TIMEOUT", "300ms")]).await;
    let reply = exchange(&service, b"GET /v1/health/live HTTP/1.1\r\nhost: a\r\n").await;
    assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 408"), "{reply}");
}

#[tokio::test]
async fn a_connection_that_brings_no_request_is_cut_off() {
    let service = Service::with(&[("SYMBOLON_HEADER_TIMEOUT", "300ms")]).await;
    for beginning in [&b""[..], b"PRI * HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        exchange(&service, beginning).await;
    }
}

#[tokio::test]
async fn a_slow_body_is_answered_in_time() {
    let service = Service::with(&[("SYMBOLON_BODY_TIMEOUT", "300ms")]).await;
    let head = "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let mut stream = connect(&service).await;
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut reply = [0; 12];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut reply)).await.expect("in time").expect("a reply");
    assert_eq!(String::from_utf8_lossy(&reply), "HTTP/1.1 408");
}

#[tokio::test]
async fn two_authorization_headers_are_none() {
    let service = Service::start().await;
    let token = service.member("ada").await;
    let request = format!(
        "GET /v1/session HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    assert!(exchange(&service, request.as_bytes()).await.starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn nonsense_on_the_wire_is_refused_and_harms_nobody() {
    let service = Service::start().await;
    for nonsense in
        [&b"\0\0\0\0\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"GET /v1/health/live HTTP/1.1\r\nhost a\r\n\r\n"]
    {
        let reply = exchange(&service, nonsense).await;
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 4"), "{reply}");
    }
    assert_eq!(service.get("/v1/health/live").send().await.status, 200);
}

#[tokio::test]
async fn requests_in_flight_are_counted_until_their_body_ends() {
    let service = Service::start().await;
    let stats = async || {
        let stats = service.operator(Method::GET, "/balancer").send().await.json();
        stats["nodes"][0]["current_connections"].as_u64().expect("a number")
    };
    assert_eq!(stats().await, 1);
    let head = "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut stream = connect(&service).await;
        stream.write_all(head.as_bytes()).await.expect("written");
        streams.push(stream);
    }
    super::harness::until("five more are in flight", async || stats().await == 6).await;
    drop(streams);
    super::harness::until("they are gone", async || stats().await == 1).await;
}

#[tokio::test]
async fn http_2_is_spoken_with_prior_knowledge() {
    let service = Service::start().await;
    let mut stream = connect(&service).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("written");
    let mut frame = [0; 9];
    tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut frame))
        .await
        .expect("in time")
        .expect("a frame");
    assert_eq!(frame[3], 4, "a SETTINGS frame");
}
