//! Clients that do not send their bodies, or do not read their responses: they do not affect others.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{
    Connection, DEADLINE, Http2, OPERATOR_TOKEN, Service, assert_timed_out, run, temporary_directory, until,
};

const TIMEOUT: Duration = Duration::from_millis(300);
const FEW_SLOTS: [(&str, &str); 2] = [("SYMBOLON_CONCURRENCY_MIN", "16"), ("SYMBOLON_CONCURRENCY_MAX", "16")];

#[tokio::test]
async fn unread_responses_hold_no_concurrency_slot() {
    let service = Service::with(&FEW_SLOTS).await;
    let mut client = Http2::to(&service, 0).await;
    let _stalled = client.stall(100, "GET", "/v1/session", None).await;
    for _ in 0..20 {
        assert_eq!(service.get("/v1/session").send().await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(service.metric("symbolon_requests_in_flight").await, 1.0);
}

#[tokio::test]
async fn unread_login_responses_hold_no_concurrency_slot() {
    let service = Service::with(&[FEW_SLOTS.as_slice(), &[("SYMBOLON_THROTTLE", "off")]].concat()).await;
    service.register("ada").await;
    let body = json!({"login_name": "ada", "password": "not her password"}).to_string();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Http2::to(&service, 0).await;
        let stalled = client.stall(16, "POST", "/v1/login", Some(&body)).await;
        clients.push((client, stalled));
    }
    service.login("ada").await;
}

#[tokio::test]
async fn an_unread_stream_is_reset_without_its_connection() {
    let service = Service::with(&[("SYMBOLON_SEND_TIMEOUT", "300ms")]).await;
    let mut client = Http2::to(&service, 0).await;
    let begun = Instant::now();
    let mut stalled = client.stall(3, "GET", "/v1/session", None).await;
    for stalled in &mut stalled {
        assert_eq!(stalled.failure().await.reason(), Some(h2::Reason::CANCEL));
        assert_timed_out(begun, TIMEOUT);
    }
    // The connection stays open.
    assert_eq!(client.stall(1, "GET", "/v1/session", None).await[0].status, 401);
    assert_eq!(service.metric("symbolon_exchanges_stalled_total").await, 3.0);
}

#[tokio::test]
async fn a_client_that_reads_one_byte_loses_its_connection() {
    let service = Service::with(&[("SYMBOLON_SEND_TIMEOUT", "300ms")]).await;
    let mut client = Http2::to(&service, 1).await;
    let begun = Instant::now();
    let _stalled = client.stall(1, "GET", "/v1/session", None).await;
    until("the connection ends", async || client.connection.is_finished()).await;
    assert_timed_out(begun, TIMEOUT);
}

#[tokio::test]
async fn an_http2_connection_without_requests_is_closed() {
    let service = Service::with(&[("SYMBOLON_HTTP2_IDLE_TIMEOUT", "300ms")]).await;
    let mut client = Http2::to(&service, 65_535).await;
    let begun = Instant::now();
    assert_eq!(client.stall(1, "GET", "/v1/health/live", None).await[0].status, 200);
    until("the connection ends", async || client.connection.is_finished()).await;
    assert_timed_out(begun, TIMEOUT);
}

#[tokio::test]
async fn a_new_connection_evicts_an_idle_one() {
    let service = Service::with(&[("SYMBOLON_MAX_OPEN_CONNECTIONS", "16")]).await;
    let request = b"GET /v1/health/live HTTP/1.1\r\nhost: a\r\n\r\n";
    // Half of the connections wait for a body, half for a request.
    let login = b"POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let mut idle = Vec::new();
    for number in 0..64 {
        let mut client = Connection::to(&service).await;
        client.send(if number % 2 == 0 { &request[..] } else { login }).await;
        idle.push(client);
    }
    for _ in 0..20 {
        let reply = reqwest::get(format!("{}/v1/session", service.url)).await.expect("a reply");
        assert_eq!(reply.status(), 401);
    }
    assert!(service.metric("symbolon_connections_evicted_total").await >= 48.0);
    assert!(service.metric("symbolon_connections_open").await <= 20.0);
}

#[tokio::test]
async fn a_connection_limit_above_the_descriptor_limit_stops_the_start() {
    let settings = [("SYMBOLON_MAX_OPEN_CONNECTIONS", "4000000000")];
    for role in ["serve", "gateway"] {
        let (code, _, error) = run(&[role], &settings, b"").await;
        assert_eq!(code, 1, "{role}");
        assert!(error.contains("max_open_connections") && error.contains("file descriptors"), "{error}");
    }
}

#[tokio::test]
async fn the_soft_descriptor_limit_is_raised() {
    let wrapper = ["sh", "-c", "ulimit -Sn 128; exec \"$@\"", "sh"];
    let service = Service::wrapped(&wrapper, Arc::new(temporary_directory()), &[]).await;
    let limits = format!("/proc/{}/limits", service.pid().as_raw_nonzero());
    let limits = std::fs::read_to_string(limits).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let [soft, hard] = [3, 4].map(|column| line.split_whitespace().nth(column).expect("a number"));
    assert_eq!(soft, hard);
    assert_ne!(soft, "128");
}

#[tokio::test]
async fn a_connection_above_the_limit_serves_only_operators() {
    let service = Service::with(&[
        ("SYMBOLON_MAX_OPEN_CONNECTIONS", "4"),
        ("SYMBOLON_ADMISSION", "off"),
        ("SYMBOLON_THROTTLE", "off"),
        // So expensive that logins keep their connections busy.
        ("SYMBOLON_ARGON2_MEMORY_KIB", "65536"),
        ("SYMBOLON_ARGON2_ITERATIONS", "400"),
        ("SYMBOLON_HASH_THREADS", "1"),
    ])
    .await;
    let body = json!({"login_name": "unknown", "password": "any password"}).to_string();
    let login = format!(
        "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let get = async |path: &str, token: Option<&str>| {
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client");
        let request = client.get(format!("{}{path}", service.url)).timeout(DEADLINE);
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        request.send().await.expect("a reply")
    };
    let busy = tokio::sync::Mutex::new(Vec::new());
    until("all connections are busy, and another one is refused", async || {
        let mut client = Connection::to(&service).await;
        client.send(&login).await;
        busy.lock().await.push(client);
        let reply = get("/v1/session", None).await;
        let closes = reply.headers().get("connection").is_some_and(|value| value == "close");
        reply.status() == 503 && closes
    })
    .await;
    let mut refused = Http2::to(&service, 65_535).await;
    assert_eq!(status_over_http2(&mut refused, "/v1/session").await, 503);
    until("the connection is closed, so that its client makes another one", async || refused.connection.is_finished())
        .await;
    assert_eq!(get("/v1/health/live", None).await.status(), 200);
    assert_eq!(get("/v1/operator/stats", Some(OPERATOR_TOKEN)).await.status(), 200);
}

/// So many requests without their bodies.
async fn requests_without_bodies(service: &Service, count: usize) -> (Http2, Vec<h2::SendStream<hyper::body::Bytes>>) {
    let mut client = Http2::to(service, 65_535).await;
    let mut bodies = Vec::new();
    for _ in 0..count {
        bodies.push(client.begin_without_body("/v1/login").await);
    }
    (client, bodies)
}

async fn status_over_http2(client: &mut Http2, path: &str) -> u16 {
    client.stall(1, "GET", path, None).await[0].status
}

#[tokio::test]
async fn unread_documents_block_no_other_client() {
    let service = Service::start().await;
    let mut clients = Vec::new();
    for _ in 0..24 {
        let mut client = Http2::to(&service, 0).await;
        let stalled = client.stall(2, "GET", "/docs/swagger-ui-bundle.js", None).await;
        clients.push((client, stalled));
    }
    for _ in 0..20 {
        assert_eq!(service.get("/v1/health/live").send().await.status, 200);
        assert_eq!(service.get("/v1/session").send().await.status, 401);
    }
}

#[tokio::test]
async fn streams_without_their_bodies_block_no_other_client() {
    let settings = [("SYMBOLON_MAX_OPEN_CONNECTIONS", "128")];
    let service = Service::with(&settings).await;
    let mut held = Vec::new();
    for _ in 0..9 {
        held.push(requests_without_bodies(&service, 16).await);
    }
    until("all of them are open", async || service.metric("symbolon_http2_streams").await >= 120.0).await;
    for _ in 0..5 {
        let mut other = Http2::to(&service, 65_535).await;
        assert_eq!(status_over_http2(&mut other, "/v1/health/live").await, 200);
        assert_eq!(status_over_http2(&mut other, "/v1/session").await, 401);
    }
    until("the evicted ones are closed", async || service.metric("symbolon_http2_streams").await < 129.0).await;
}
