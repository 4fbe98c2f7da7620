//! Framing of HTTP/1.1 messages (RFC 9112), valid and invalid: what reaches the node, and what the client gets.

use std::time::{Duration, Instant};

use super::node::Node;
use crate::support::{Connection, Service, assert_timed_out};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Sends a request that must not reach the node; returns the status of the answer.
async fn refusal(request: &str) -> u16 {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send(request).await;
    client.read_head().await.expect("an answer");
    let status = client.status();
    client.read_to_end().await;
    assert!(node.has_no_request(), "{request:?} reached the node");
    status
}

/// The beginning of a body that is too large for the gateway to read before it forwards it.
fn streamed_part() -> String {
    "x".repeat(20_000)
}

#[tokio::test]
async fn a_request_with_length_and_chunks_is_forwarded_as_chunked() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    for framing in
        ["content-length: 3\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 3"]
    {
        let mut client = Connection::to(&gateway).await;
        client.send(format!("POST /x HTTP/1.1\r\nhost: h\r\n{framing}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")).await;
        let mut request = node.request().await;
        assert_eq!(request.header("transfer-encoding"), Some("chunked"));
        assert_eq!(request.header("content-length"), None, "{framing}");
        assert_eq!(request.read_until("0\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
        request.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
        assert_eq!(client.response().await, (200, "ok".to_owned()));
    }
}

#[tokio::test]
async fn ambiguous_heads_are_refused() {
    for request in [
        "POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: +3\r\n\r\nabc",
        "POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 3, 4\r\n\r\nabcd",
        "GET /x HTTP/1.1\r\nhost: h\r\nx-a: 1\r\n folded\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: h\r\nx-a : 1\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: h\r\nx-a: a\0b\r\n\r\n",
        "POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST /x HTTP/1.0\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: a b/c\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: user@a\r\n\r\n",
        "GET http://user@a/x HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET a.example:80 HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        assert_eq!(refusal(request).await, 400, "{request:?}");
    }
}

#[tokio::test]
async fn an_unknown_transfer_coding_is_refused() {
    for coding in ["gzip, chunked", "chunked, chunked", "chunked\r\ntransfer-encoding: chunked"] {
        let request = format!("POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n");
        assert_eq!(refusal(&request).await, 501, "{coding}");
    }
}

#[tokio::test]
async fn connect_is_refused() {
    let node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send("CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n").await;
    assert_eq!(client.response().await.0, 405);
}

#[tokio::test]
async fn an_oversized_head_is_refused() {
    let request = format!("GET /x HTTP/1.1\r\nhost: h\r\nx-a: {}\r\n\r\n", "a".repeat(70_000));
    assert_eq!(refusal(&request).await, 431);
}

#[tokio::test]
async fn a_stalled_head_ends_the_connection() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[("SYMBOLON_HEADER_TIMEOUT", "300ms")]).await;
    let mut client = Connection::to(&gateway).await;
    let begun = Instant::now();
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n").await;
    assert_eq!(client.read_to_end().await, "");
    assert_timed_out(begun, Duration::from_millis(300));
    assert!(node.has_no_request());
}

#[tokio::test]
async fn a_broken_chunked_body_is_not_forwarded_as_complete() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    let head = "POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";
    client.send(format!("{head}4e20\r\n{}\r\n", streamed_part())).await;
    let mut request = node.request().await;
    client.send("XX\r\n").await;
    assert!(!request.read_to_end().await.contains("0\r\n\r\n"), "the node gets a complete body");
    assert_eq!(client.response().await.0, 400);
    // A small body is read whole before anything is forwarded.
    let mut client = Connection::to(&gateway).await;
    client.send(format!("{head}5\r\nhello\r\nXX\r\n")).await;
    assert_eq!(client.response().await.0, 400);
    assert!(node.has_no_request());
}

#[tokio::test]
async fn a_disconnect_during_the_body_aborts_the_request_to_the_node() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send(format!("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\n{}", streamed_part())).await;
    let mut request = node.request().await;
    assert_eq!(request.read(20_000).await, streamed_part());
    drop(client);
    assert_eq!(request.read_to_end().await, "");
}

#[tokio::test]
async fn a_disconnect_before_the_response_aborts_the_request_to_the_node() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut request = node.request().await;
    drop(client);
    assert_eq!(request.read_to_end().await, "");
}

#[tokio::test]
async fn a_truncated_response_does_not_look_complete() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    for (framing, part) in [("content-length: 100", "hello"), ("transfer-encoding: chunked", "5\r\nhello\r\n")] {
        let mut client = Connection::to(&gateway).await;
        client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let mut request = node.request().await;
        request.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}")).await;
        client.read_head().await.expect("a response");
        assert_eq!(client.read(part.len()).await, part);
        drop(request);
        assert_eq!(client.read_to_end().await, "", "{framing}");
    }
}

#[tokio::test]
async fn a_response_before_the_end_of_the_request_body_is_forwarded() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send(format!("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n{}", streamed_part())).await;
    let mut request = node.request().await;
    request.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno").await;
    assert_eq!(client.response().await, (413, "no".to_owned()));
    // Neither connection waits for the rest.
    assert_eq!(client.read_to_end().await, "");
    request.read_to_end().await;
}

#[tokio::test]
async fn a_response_length_beside_a_transfer_coding_is_removed() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    for framing in
        ["content-length: 3\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 3"]
    {
        let mut client = Connection::to(&gateway).await;
        client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let mut request = node.request().await;
        request.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")).await;
        client.read_head().await.expect("a response");
        assert_eq!((client.header("content-length"), client.header("transfer-encoding")), (None, Some("chunked")));
        assert_eq!(client.read_until("0\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
        assert_eq!(request.read_to_end().await, "", "the connection is reused");
    }
}

#[tokio::test]
async fn expect_continue_is_answered_by_the_gateway() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send("POST /x HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
    assert_eq!(client.read_head().await.as_deref(), Some("HTTP/1.1 100 Continue\r\n\r\n"));
    client.send("hello").await;
    let mut request = node.request().await;
    assert_eq!(request.header("expect"), None);
    assert_eq!(request.read(5).await, "hello");
    request.send(OK).await;
    assert_eq!(client.response().await.0, 200);
}

#[tokio::test]
async fn trailers_are_forwarded_in_both_directions() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client
        .send(
            "POST /x HTTP/1.1\r\nhost: h\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
        )
        .await;
    let mut request = node.request().await;
    assert_eq!((request.header("te"), request.header("connection")), (Some("trailers"), Some("te")));
    assert_eq!(request.read_until("x-sum: 1\r\n\r\n").await, "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
    request.send("HTTP/1.1 200 OK\r\ntrailer: x-end\r\ntransfer-encoding: chunked\r\n\r\n").await;
    request.send("2\r\nok\r\n0\r\nx-end: 2\r\n\r\n").await;
    client.read_head().await.expect("a response");
    assert_eq!(client.read_until("x-end: 2\r\n\r\n").await, "2\r\nok\r\n0\r\nx-end: 2\r\n\r\n");
}

#[tokio::test]
async fn a_body_after_a_head_response_is_discarded() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send("HEAD /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut request = node.request().await;
    request.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    client.read_head().await.expect("a response");
    assert_eq!(client.header("content-length"), Some("5"));
    client.send("GET /y HTTP/1.1\r\nhost: h\r\n\r\n").await;
    // The rest on the first connection is not taken for a response.
    node.request().await.send(OK).await;
    assert_eq!(client.response().await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn an_absolute_target_replaces_the_host_header() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send("GET http://a.example/x?y HTTP/1.1\r\nhost: b.example\r\n\r\n").await;
    let mut request = node.request().await;
    assert!(request.head.starts_with("GET /x?y HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("host"), Some("a.example"));
    request.send(OK).await;
    assert_eq!(client.response().await.0, 200);
}

#[tokio::test]
async fn an_upgrade_is_not_forwarded() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    let mut request = node.request().await;
    assert_eq!((request.header("upgrade"), request.header("connection")), (None, None));
    request.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n").await;
    assert_eq!(client.response().await.0, 502);
}

#[tokio::test]
async fn informational_responses_are_skipped() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut request = node.request().await;
    request.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await;
    request.send(OK).await;
    assert_eq!(client.response().await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn a_connection_header_cannot_remove_the_gateways_headers() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client
        .send(
            "GET /x HTTP/1.1\r\nhost: h\r\nauthorization: Bearer t\r\nx-mine: 1\r\n\
             connection: host, authorization, x-forwarded-for, x-mine\r\n\r\n",
        )
        .await;
    let request = node.request().await;
    assert_eq!((request.header("host"), request.header("authorization")), (Some("h"), Some("bearer t")));
    assert_eq!((request.header("x-forwarded-for"), request.header("x-mine")), (Some("127.0.0.1"), None));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send("GET /1 HTTP/1.1\r\nhost: h\r\n\r\nGET /2 HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut connection = node.request().await;
    for number in ["1", "2"] {
        assert!(connection.head.starts_with(&format!("GET /{number} ")));
        connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}")).await;
        assert_eq!(client.response().await, (200, number.to_owned()));
        if number == "1" {
            connection.read_head().await.expect("the second request, on the same connection");
        }
    }
}

#[tokio::test]
async fn a_node_that_stops_sending_ends_the_response() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[("SYMBOLON_GATEWAY_TIMEOUT", "300ms")]).await;
    let mut client = Connection::to(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut request = node.request().await;
    let begun = Instant::now();
    request.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello").await;
    client.read_head().await.expect("a response");
    assert_eq!(client.read_to_end().await, "hello");
    assert_timed_out(begun, Duration::from_millis(300));
}

#[tokio::test]
async fn a_client_that_reads_nothing_loses_its_response_in_time() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[("SYMBOLON_SEND_TIMEOUT", "300ms")]).await;
    let mut client = Connection::to(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut request = node.request().await;
    request.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
    let piece = vec![b'x'; 1 << 20];
    let begun = Instant::now();
    // More than all buffers between node and client hold.
    while request.try_send(&piece).await {}
    assert_timed_out(begun, Duration::from_millis(300));
    drop(client);
}

#[tokio::test]
async fn a_response_with_invalid_framing_is_answered_with_502() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    for length in ["content-length: 5\r\ncontent-length: 9", "content-length: +5", "transfer-encoding: gzip, chunked"] {
        let mut client = Connection::to(&gateway).await;
        client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
        node.request().await.send(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\nhello")).await;
        assert_eq!(client.response().await.0, 502, "{length}");
    }
}

#[tokio::test]
async fn an_http10_node_gets_chunked_bodies() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut first = node.request().await;
    first.send("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(client.response().await.0, 200);
    client.send("POST /y HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
    let mut second = node.request().await;
    assert_eq!(second.read_until("0\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_client_that_stops_sending_is_not_counted_as_a_node_failure() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[("SYMBOLON_GATEWAY_TIMEOUT", "300ms")]).await;
    for _ in 0..6 {
        let mut client = Connection::to(&gateway).await;
        client.send(format!("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\n{}", streamed_part())).await;
        let request = node.request().await;
        assert_eq!(client.response().await.0, 408);
        drop(request);
    }
    assert_eq!(gateway.operator_view("/gateway").await["nodes"][0]["ejected"], false);
}
