//! Clients that keep the service waiting: they harm themselves.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{
    harness::{DEADLINE, Service, run, until},
    http2::Http2,
};

const FEW_PLACES: [(&str, &str); 2] = [("SYMBOLON_ADMISSION_MIN", "16"), ("SYMBOLON_ADMISSION_MAX", "16")];

async fn metric(service: &Service, name: &str) -> f64 {
    value(&service.get("/metrics").bearer(&service.operator_token()).send().await.text, name)
}

fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    let value = line.unwrap_or_else(|| panic!("{name} is missing")).split(' ').nth(1).expect("a value");
    value.parse().expect("a number")
}

#[tokio::test]
async fn responses_that_wait_for_their_client_hold_no_place() {
    let service = Service::with(&FEW_PLACES).await;
    let mut client = Http2::with(&service, 0).await;
    let _stalled = client.stall(100, "GET", "/v1/session", None).await;
    for _ in 0..20 {
        assert_eq!(service.get("/v1/session").send().await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(metric(&service, "symbolon_requests_in_flight").await, 1.0);
}

#[tokio::test]
async fn logins_that_wait_for_their_client_hold_no_place() {
    let service = Service::with(&[FEW_PLACES.as_slice(), &[("SYMBOLON_THROTTLE", "off")]].concat()).await;
    service.register("ada").await;
    let body = json!({"login_name": "ada", "password": "not her password"}).to_string();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Http2::with(&service, 0).await;
        let stalled = client.stall(16, "POST", "/v1/login", Some(&body)).await;
        clients.push((client, stalled));
    }
    service.login("ada").await;
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_is_ended_alone() {
    let service = Service::with(&[("SYMBOLON_SEND_TIMEOUT", "300ms")]).await;
    let mut client = Http2::with(&service, 0).await;
    let mut stalled = client.stall(3, "GET", "/v1/session", None).await;
    for stalled in &mut stalled {
        assert_eq!(stalled.failure().await.reason(), Some(h2::Reason::CANCEL));
    }
    // Its connection goes on.
    assert_eq!(client.stall(1, "GET", "/v1/session", None).await[0].status, 401);
    assert_eq!(metric(&service, "symbolon_exchanges_stalled_total").await, 3.0);
}

#[tokio::test]
async fn a_client_that_takes_a_byte_and_no_more_loses_its_connection() {
    let service = Service::with(&[("SYMBOLON_SEND_TIMEOUT", "300ms")]).await;
    let mut client = Http2::with(&service, 1).await;
    let _stalled = client.stall(1, "GET", "/v1/session", None).await;
    until("the connection ends", async || client.connection.is_finished()).await;
}

#[tokio::test]
async fn an_http2_connection_that_only_answers_pings_ends() {
    let service = Service::with(&[("SYMBOLON_HTTP2_IDLE_TIMEOUT", "300ms")]).await;
    let mut client = Http2::with(&service, 65_535).await;
    assert_eq!(client.stall(1, "GET", "/v1/health/live", None).await[0].status, 200);
    until("the connection ends", async || client.connection.is_finished()).await;
}

#[tokio::test]
async fn an_idle_connection_gives_way_to_a_new_one() {
    let service = Service::with(&[("SYMBOLON_MAX_OPEN_CONNECTIONS", "16")]).await;
    let address = service.url.strip_prefix("http://").expect("an address");
    let request = b"GET /v1/health/live HTTP/1.1\r\nhost: a\r\n\r\n";
    // Half of them owe a body, half a request.
    let login = b"POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let mut idle = Vec::new();
    for number in 0..64 {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(if number % 2 == 0 { request } else { login }).await.expect("written");
        idle.push(stream);
    }
    for _ in 0..20 {
        let reply = reqwest::get(format!("{}/v1/session", service.url)).await.expect("a reply");
        assert_eq!(reply.status(), 401);
    }
    assert!(metric(&service, "symbolon_connections_evicted_total").await >= 48.0);
    assert!(metric(&service, "symbolon_connections_open").await <= 20.0);
}

#[tokio::test]
async fn a_cap_that_descriptors_have_no_room_for_stops_the_start() {
    let settings = [("SYMBOLON_MAX_OPEN_CONNECTIONS", "4000000000")];
    for role in ["serve", "gateway"] {
        let (code, _, error) = run(&[role], &settings, b"").await;
        assert_ne!(code, 0, "{role}");
        assert!(error.contains("max_open_connections") && error.contains("file descriptors"), "{error}");
    }
}

#[tokio::test]
async fn the_soft_limit_on_descriptors_is_raised() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut process = tokio::process::Command::new("sh")
        .args(["-c", "ulimit -Sn 128; exec \"$0\"", env!("CARGO_BIN_EXE_symbolon")])
        .env("SYMBOLON_LISTEN", "127.0.0.1:0")
        .env("SYMBOLON_DATA", data.path())
        .current_dir(data.path())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("a shell");
    let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
    let started = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("in time").expect("output");
    assert!(started.expect("a line").contains("listens on"));
    let limits = format!("/proc/{}/limits", process.id().expect("a running process"));
    let limits = std::fs::read_to_string(limits).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let [soft, hard] = [3, 4].map(|column| line.split_whitespace().nth(column).expect("a number"));
    assert_eq!(soft, hard);
}

#[tokio::test]
async fn a_connection_above_the_cap_serves_operators_only() {
    let service = Service::with(&[
        ("SYMBOLON_MAX_OPEN_CONNECTIONS", "4"),
        ("SYMBOLON_ADMISSION", "off"),
        ("SYMBOLON_THROTTLE", "off"),
        // Hashes that keep the process at work.
        ("SYMBOLON_HASH_MEMORY_KIB", "65536"),
        ("SYMBOLON_HASH_PASSES", "400"),
        ("SYMBOLON_HASH_THREADS", "1"),
    ])
    .await;
    let body = json!({"login_name": "nobody", "password": "any password"}).to_string();
    let login = format!(
        "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let get = async |path: &str, token: Option<&str>| {
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client");
        let request = client.get(format!("{}{path}", service.url)).timeout(Duration::from_secs(20));
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        request.send().await.expect("a reply")
    };
    let token = service.operator_token();
    let address = service.url.strip_prefix("http://").expect("an address");
    let busy = tokio::sync::Mutex::new(Vec::new());
    until("all connections are at work, and another one is refused", async || {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(login.as_bytes()).await.expect("written");
        busy.lock().await.push(stream);
        let reply = get("/v1/session", None).await;
        let closes = reply.headers().get("connection").is_some_and(|value| value == "close");
        reply.status() == 503 && closes
    })
    .await;
    let mut refused = Http2::with(&service, 65_535).await;
    assert_eq!(status_over_http2(&mut refused, "/v1/session").await, 503);
    until("it is closed, and its client makes another one", async || refused.connection.is_finished()).await;
    assert_eq!(get("/v1/health/live", None).await.status(), 200);
    assert_eq!(get("/v1/operator/stats", Some(&token)).await.status(), 200);
}

/// So many requests of which the bodies don't come.
async fn owing(service: &Service, count: usize) -> (Http2, Vec<h2::SendStream<hyper::body::Bytes>>) {
    let mut client = Http2::with(service, 65_535).await;
    let mut bodies = Vec::new();
    for _ in 0..count {
        bodies.push(client.owe("/v1/login").await);
    }
    (client, bodies)
}

async fn status_over_http2(client: &mut Http2, path: &str) -> u16 {
    client.stall(1, "GET", path, None).await[0].status
}

#[tokio::test]
async fn documents_that_nobody_takes_refuse_nobody() {
    let service = Service::start().await;
    let mut clients = Vec::new();
    for _ in 0..24 {
        let mut client = Http2::with(&service, 0).await;
        let stalled = client.stall(2, "GET", "/docs/swagger-ui-bundle.js", None).await;
        clients.push((client, stalled));
    }
    for _ in 0..20 {
        assert_eq!(service.get("/v1/health/live").send().await.status, 200);
        assert_eq!(service.get("/v1/session").send().await.status, 401);
    }
}

#[tokio::test]
async fn streams_that_owe_a_body_refuse_nobody() {
    let settings = [("SYMBOLON_MAX_OPEN_CONNECTIONS", "128")];
    let service = Service::with(&settings).await;
    let mut held = Vec::new();
    for _ in 0..9 {
        held.push(owing(&service, 16).await);
    }
    until("all of them are known", async || metric(&service, "symbolon_http2_streams").await >= 120.0).await;
    for _ in 0..5 {
        let mut calm = Http2::with(&service, 65_535).await;
        assert_eq!(status_over_http2(&mut calm, "/v1/health/live").await, 200);
        assert_eq!(status_over_http2(&mut calm, "/v1/session").await, 401);
    }
    until("they are ended", async || metric(&service, "symbolon_http2_streams").await < 129.0).await;
}
