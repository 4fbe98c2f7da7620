//! Clients that keep the gateway waiting take no place on a node.

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::raw::{Connection, Node, gateway_before};
use crate::service::{
    harness::{Service, until},
    http2::Http2,
};

const TOKEN: (&str, &str) = ("SYMBOLON_OPERATOR_TOKEN", "operator-token-of-the-tests");
const FOUR_PLACES: (&str, &str) = ("SYMBOLON_MAX_CONNECTIONS", "4");

async fn in_flight(gateway: &Service) -> u64 {
    let view: Value = gateway.get("/v1/operator/gateway").bearer(TOKEN.1).send().await.json();
    view["nodes"][0]["current_connections"].as_u64().expect("a number")
}

async fn gateway_to(service: &Service, settings: &[(&str, &str)]) -> Service {
    let gateway = Service::gateway(&["--node", &service.url], settings).await;
    until("the gateway is ready", async || gateway.get("/v1/health/ready").send().await.status == 200).await;
    gateway
}

#[tokio::test]
async fn a_body_that_does_not_come_takes_no_place_on_a_node() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[TOKEN, FOUR_PLACES]).await;
    let mut owing = Vec::new();
    for _ in 0..8 {
        let mut client = Connection::with(&gateway).await;
        client.send("POST /v1/login HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n{").await;
        owing.push(client);
    }
    let mut calm = Connection::with(&gateway).await;
    calm.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut request = node.request().await;
    assert!(request.head.starts_with("GET /x "), "{}", request.head);
    request.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
    assert_eq!(calm.response().await.0, 200);
    // One that comes in the end is passed on.
    owing[3].send("12345678").await;
    let mut request = node.request().await;
    assert_eq!(request.read(9).await, "{12345678");
    request.send("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    assert_eq!(owing[3].response().await.0, 204);
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[TOKEN, ("SYMBOLON_BODY_TIMEOUT", "400ms")]).await;
    let head = "POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n";
    let mut client = Connection::with(&gateway).await;
    client.send(format!("{head}{}", "x".repeat(20_000))).await;
    let request = node.request().await;
    assert_eq!(in_flight(&gateway).await, 1);
    assert!(client.read_head().await.expect("an answer").starts_with("HTTP/1.1 408"));
    until("its place is free", async || in_flight(&gateway).await == 0).await;
    drop(request);
}

#[tokio::test]
async fn a_trickle_is_no_progress() {
    let node = Node::start().await;
    let gateway = gateway_before(&node, &[("SYMBOLON_BODY_TIMEOUT", "400ms")]).await;
    let address = gateway.url.strip_prefix("http://").expect("an address");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    stream.write_all(b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 1000\r\n\r\n").await.expect("written");
    let (mut reader, mut writer) = stream.into_split();
    let trickle = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    let mut reply = [0; 12];
    let read = tokio::io::AsyncReadExt::read_exact(&mut reader, &mut reply);
    tokio::time::timeout(crate::service::harness::DEADLINE, read).await.expect("in time").expect("a reply");
    assert_eq!(&reply, b"HTTP/1.1 408");
    trickle.abort();
}

#[tokio::test]
async fn responses_that_wait_for_their_client_take_no_place_on_a_node() {
    let service = Service::start().await;
    let gateway = gateway_to(&service, &[TOKEN, FOUR_PLACES]).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Http2::with(&gateway, 0).await;
        // Larger than what a node sends at once, and small.
        let stalled = client.stall(4, "GET", "/docs/swagger-ui-bundle.js", None).await;
        assert!(stalled.iter().all(|response| response.status == 200));
        until("their places are free", async || in_flight(&gateway).await == 0).await;
        let small = client.stall(4, "GET", "/v1/session", None).await;
        assert!(small.iter().all(|response| response.status == 401));
        until("their places are free", async || in_flight(&gateway).await == 0).await;
        clients.push((client, stalled, small));
    }
    for _ in 0..20 {
        assert_eq!(gateway.get("/v1/session").send().await.status, 401);
    }
}

#[tokio::test]
async fn stalled_responses_hold_up_nobody_on_the_same_connection_with_a_node() {
    let settings = [TOKEN, ("SYMBOLON_TRUSTED_PROXIES", "127.0.0.0/8")];
    let service = Service::with(&settings).await;
    let gateway = gateway_to(&service, &[TOKEN, ("SYMBOLON_GATEWAY_HTTP2", "on")]).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Http2::with(&gateway, 0).await;
        let stalled = client.stall(60, "GET", "/docs/swagger-ui-bundle.js", None).await;
        clients.push((client, stalled));
        for _ in 0..5 {
            assert_eq!(gateway.get("/v1/session").send().await.status, 401);
        }
    }
}

#[tokio::test]
async fn a_response_whose_client_takes_nothing_is_ended() {
    let service = Service::start().await;
    let gateway = gateway_to(&service, &[TOKEN, ("SYMBOLON_SEND_TIMEOUT", "300ms")]).await;
    let mut client = Http2::with(&gateway, 0).await;
    let mut stalled = client.stall(2, "GET", "/docs/swagger-ui-bundle.js", None).await;
    for stalled in &mut stalled {
        assert_eq!(stalled.failure().await.reason(), Some(h2::Reason::CANCEL));
    }
    until("their places are free", async || in_flight(&gateway).await == 0).await;
}

#[tokio::test]
async fn a_large_body_does_not_hide_why_it_is_refused() {
    let service = Service::start().await;
    let gateway = gateway_to(&service, &[]).await;
    let head = "PUT /v1/users/me/password HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: 1048576\r\n\r\n{}", " ".repeat(1 << 20));
    for asked in [&service, &gateway] {
        for _ in 0..30 {
            let mut client = Connection::with(asked).await;
            client.send(&request).await;
            assert_eq!(client.response().await.0, 401);
        }
    }
}

#[tokio::test]
async fn as_many_headers_as_the_gateway_takes_a_node_takes_too() {
    let service = Service::start().await;
    let gateway = gateway_to(&service, &[]).await;
    let status = async |count: usize| {
        let headers: String = (1..count).map(|number| format!("x-{number}: a\r\n")).collect();
        let mut client = Connection::with(&gateway).await;
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
async fn a_response_may_have_many_headers() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let headers: String = (0..200).map(|number| format!("x-{number}: a\r\n")).collect();
    node.request().await.send(format!("HTTP/1.1 200 OK\r\n{headers}content-length: 2\r\n\r\nok")).await;
    assert_eq!(client.response().await, (200, "ok".to_owned()));
    assert_eq!(client.header("x-199"), Some("a"));
}

#[tokio::test]
async fn what_http_1_can_not_carry_does_not_pass_from_http_2() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Http2::with(&gateway, 65_535).await;
    for header in [("x-a", " a"), ("x-a", "a\t"), ("content-length", "")] {
        let response = client.begin_with("GET", "/x", header, None).await.await;
        // h2 may have refused it already.
        let refused = response.map_or(true, |response| response.status() == 400);
        assert!(refused && node.has_nothing(), "{header:?}");
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_wrote_must_be_an_address() {
    let service = Service::with(&[("SYMBOLON_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let gateway = gateway_to(&service, &[("SYMBOLON_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let token = service.member("ada").await;
    for asked in [&service, &gateway] {
        let session = async |forwarded: &[u8]| {
            let head = format!(
                "POST /v1/login HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\nx-forwarded-for: ",
                LOGIN.len()
            );
            let mut client = Connection::with(asked).await;
            client.send([head.as_bytes(), forwarded, b"\r\n\r\n", LOGIN.as_bytes()].concat()).await;
            client.response().await
        };
        let (status, body) = session(b"203.0.113.9, \xff").await;
        assert_eq!(status, 400, "{body}");
        assert!(body.contains("X-Forwarded-For"), "{body}");
        assert_eq!(session(b"\xff, 203.0.113.9").await.0, 200);
        let sessions = service.get("/v1/sessions").bearer(&token).send().await.json();
        let newest = sessions["sessions"].as_array().and_then(|sessions| sessions.last().cloned()).expect("sessions");
        assert_eq!(newest["address"], "203.0.113.9", "{newest}");
    }
}

const LOGIN: &str = r#"{"login_name":"ada","password":"correct horse battery"}"#;
