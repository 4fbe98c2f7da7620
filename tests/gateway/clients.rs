//! Slow and invalid clients of the gateway.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::node::Node;
use crate::support::{Connection, Http2, PASSWORD, Service, TRUST_LOOPBACK, assert_timed_out, in_time, until};

const SHORT_BODY_TIMEOUT: (&str, &str) = ("SYMBOLON_BODY_TIMEOUT", "400ms");
const BODY_TIMEOUT: Duration = Duration::from_millis(400);
const FOUR_CONNECTIONS: (&str, &str) = ("SYMBOLON_MAX_CONNECTIONS", "4");

async fn in_flight(gateway: &Service) -> u64 {
    gateway.operator_view("/gateway").await["nodes"][0]["current_connections"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_request_without_its_body_takes_no_slot_on_a_node() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[FOUR_CONNECTIONS]).await;
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut client = Connection::to(&gateway).await;
        client.send("POST /v1/login HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n{").await;
        stalled.push(client);
    }
    let mut calm = Connection::to(&gateway).await;
    calm.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut request = node.request().await;
    assert!(request.head.starts_with("GET /x "), "{}", request.head);
    request.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
    assert_eq!(calm.response().await.0, 200);
    // A body that arrives late is forwarded.
    stalled[3].send("12345678").await;
    let mut request = node.request().await;
    assert_eq!(request.read(9).await, "{12345678");
    request.send("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    assert_eq!(stalled[3].response().await.0, 204);
}

#[tokio::test]
async fn a_stalled_body_is_answered_with_408() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[SHORT_BODY_TIMEOUT]).await;
    let head = "POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n";
    let mut client = Connection::to(&gateway).await;
    client.send(format!("{head}{}", "x".repeat(20_000))).await;
    let (request, begun) = (node.request().await, Instant::now());
    assert_eq!(in_flight(&gateway).await, 1);
    assert!(client.read_head().await.expect("an answer").starts_with("HTTP/1.1 408"));
    assert_timed_out(begun, BODY_TIMEOUT / 2);
    until("its slot is free", async || in_flight(&gateway).await == 0).await;
    drop(request);
}

#[tokio::test]
async fn a_body_sent_byte_by_byte_is_answered_with_408() {
    let node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[SHORT_BODY_TIMEOUT]).await;
    let begun = Instant::now();
    let mut client = Connection::to(&gateway).await;
    client.send("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 1000\r\n\r\n").await;
    let (mut reader, mut writer) = client.into_split();
    let trickle = tokio::spawn(async move {
        // The rate of the client is what is tested: each byte comes well within the timeout.
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(BODY_TIMEOUT / 8).await;
        }
    });
    let mut reply = [0; 12];
    in_time("the gateway answers", reader.read_exact(&mut reply)).await.expect("a reply");
    assert_eq!(&reply, b"HTTP/1.1 408");
    assert_timed_out(begun, BODY_TIMEOUT);
    trickle.abort();
}

#[tokio::test]
async fn a_response_that_waits_for_its_client_takes_no_slot_on_a_node() {
    let service = Service::start().await;
    let gateway = Service::gateway_to(&[&service.url], &[FOUR_CONNECTIONS]).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Http2::to(&gateway, 0).await;
        // A body larger than a node sends at once, then small ones.
        let stalled = client.stall(4, "GET", "/docs/swagger-ui-bundle.js", None).await;
        assert!(stalled.iter().all(|response| response.status == 200));
        until("their slots are free", async || in_flight(&gateway).await == 0).await;
        let small = client.stall(4, "GET", "/v1/session", None).await;
        assert!(small.iter().all(|response| response.status == 401));
        until("their slots are free", async || in_flight(&gateway).await == 0).await;
        clients.push((client, stalled, small));
    }
    for _ in 0..20 {
        assert_eq!(gateway.get("/v1/session").send().await.status, 401);
    }
}

#[tokio::test]
async fn stalled_responses_do_not_block_others_on_the_same_node_connection() {
    let service = Service::with(&[TRUST_LOOPBACK]).await;
    let gateway = Service::gateway_to(&[&service.url], &[("SYMBOLON_GATEWAY_HTTP2", "on")]).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Http2::to(&gateway, 0).await;
        let stalled = client.stall(60, "GET", "/docs/swagger-ui-bundle.js", None).await;
        clients.push((client, stalled));
        for _ in 0..5 {
            assert_eq!(gateway.get("/v1/session").send().await.status, 401);
        }
    }
}

#[tokio::test]
async fn a_response_that_its_client_does_not_read_is_cancelled() {
    let service = Service::start().await;
    let gateway = Service::gateway_to(&[&service.url], &[("SYMBOLON_SEND_TIMEOUT", "300ms")]).await;
    let mut client = Http2::to(&gateway, 0).await;
    let begun = Instant::now();
    let mut stalled = client.stall(2, "GET", "/docs/swagger-ui-bundle.js", None).await;
    for stalled in &mut stalled {
        assert_eq!(stalled.failure().await.reason(), Some(h2::Reason::CANCEL));
        assert_timed_out(begun, Duration::from_millis(300));
    }
    until("their slots are free", async || in_flight(&gateway).await == 0).await;
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_sends_a_large_body() {
    let service = Service::start().await;
    let gateway = Service::gateway_to(&[&service.url], &[]).await;
    let head = "PUT /v1/users/me/password HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: 1048576\r\n\r\n{}", " ".repeat(1 << 20));
    for target in [&service, &gateway] {
        for _ in 0..30 {
            let mut client = Connection::to(target).await;
            client.send(&request).await;
            assert_eq!(client.response().await.0, 401);
        }
    }
}

#[tokio::test]
async fn a_node_accepts_as_many_headers_as_the_gateway() {
    let service = Service::start().await;
    let gateway = Service::gateway_to(&[&service.url], &[]).await;
    let status = async |count: usize| {
        let headers: String = (1..count).map(|number| format!("x-{number}: a\r\n")).collect();
        let mut client = Connection::to(&gateway).await;
        client.send(format!("GET /v1/session HTTP/1.1\r\nhost: h\r\n{headers}\r\n")).await;
        client.response().await
    };
    for count in [90, 92] {
        assert_eq!(status(count).await.0, 401, "{count}");
    }
    for count in [93, 98, 100] {
        let (status, body) = status(count).await;
        assert_eq!((status, body.contains("too-many-headers")), (431, true), "{count}");
    }
}

#[tokio::test]
async fn a_response_with_200_headers_is_forwarded() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let headers: String = (0..200).map(|number| format!("x-{number}: a\r\n")).collect();
    node.request().await.send(format!("HTTP/1.1 200 OK\r\n{headers}content-length: 2\r\n\r\nok")).await;
    assert_eq!(client.response().await, (200, "ok".to_owned()));
    assert_eq!(client.header("x-199"), Some("a"));
}

#[tokio::test]
async fn http2_headers_that_http1_forbids_are_refused() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Http2::to(&gateway, 65_535).await;
    for header in [("x-a", " a"), ("x-a", "a\t"), ("content-length", "")] {
        let response = in_time("an answer", client.begin_with("GET", "/x", header, None).await).await;
        // The gateway's HTTP/2 library resets the stream of some, and the gateway answers the others.
        match response {
            Ok(response) => assert_eq!(response.status(), 400, "{header:?}"),
            Err(error) => assert_eq!(error.reason(), Some(h2::Reason::PROTOCOL_ERROR), "{header:?}"),
        }
        assert!(node.has_no_request(), "{header:?}");
    }
}

#[tokio::test]
async fn an_invalid_address_from_a_trusted_proxy_is_refused() {
    let service = Service::with(&[TRUST_LOOPBACK]).await;
    let gateway = Service::gateway_to(&[&service.url], &[TRUST_LOOPBACK]).await;
    let token = service.register_and_login("ada").await;
    let login = json!({"login_name": "ada", "password": PASSWORD}).to_string();
    for target in [&service, &gateway] {
        let session = async |forwarded: &[u8]| {
            let head = format!(
                "POST /v1/login HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\nx-forwarded-for: ",
                login.len()
            );
            let mut client = Connection::to(target).await;
            client.send([head.as_bytes(), forwarded, b"\r\n\r\n", login.as_bytes()].concat()).await;
            client.response().await
        };
        let (status, body) = session(b"203.0.113.9, \xff").await;
        assert_eq!(status, 400, "{body}");
        assert!(body.contains("X-Forwarded-For"), "{body}");
        assert_eq!(session(b"\xff, 203.0.113.9").await.0, 200);
        let sessions = service.get("/v1/sessions").bearer(&token).send().await.json();
        let newest = sessions["sessions"].as_array().and_then(|sessions| sessions.last()).expect("sessions");
        assert_eq!(newest["address"], "203.0.113.9", "{newest}");
    }
}
