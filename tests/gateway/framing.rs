//! Requests and responses that are odd, broken or malicious (RFC 9112): what reaches the node, what the client gets.

use super::raw::{Connection, Node, gateway_before};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What a client that sends `request` gets from a gateway whose node must see nothing of it.
async fn refused(request: &str) -> u16 {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
    client.send(request).await;
    client.read_head().await.expect("an answer");
    let status = client.status();
    client.read_to_end().await;
    assert!(node.has_nothing(), "{request:?} reached the node");
    status
}

/// The beginning of a body that is too large to be read before it is passed on.
fn streamed() -> String {
    "x".repeat(20_000)
}

#[tokio::test]
async fn a_request_that_is_framed_in_two_ways_has_one_meaning() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    for framing in
        ["content-length: 3\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 3"]
    {
        let mut client = Connection::with(&gateway).await;
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
async fn heads_that_others_may_read_otherwise_are_refused() {
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
        assert_eq!(refused(request).await, 400, "{request:?}");
    }
}

#[tokio::test]
async fn a_coding_that_is_not_known_is_not_passed_on_without_its_name() {
    for coding in ["gzip, chunked", "chunked, chunked", "chunked\r\ntransfer-encoding: chunked"] {
        let request = format!("POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n");
        assert_eq!(refused(&request).await, 501, "{coding}");
    }
}

#[tokio::test]
async fn a_tunnel_is_refused() {
    let node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n").await;
    assert_eq!(client.response().await.0, 405);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let request = format!("GET /x HTTP/1.1\r\nhost: h\r\nx-a: {}\r\n\r\n", "a".repeat(70_000));
    assert_eq!(refused(&request).await, 431);
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_ends_the_connection() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[("SYMBOLON_HEADER_TIMEOUT", "300ms")]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n").await;
    assert!(!client.read_to_end().await.contains("200"));
    assert!(node.has_nothing());
}

#[tokio::test]
async fn a_body_that_is_broken_is_not_passed_on_as_a_whole_one() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
    let head = "POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";
    client.send(format!("{head}4e20\r\n{}\r\n", streamed())).await;
    let mut request = node.request().await;
    client.send("XX\r\n").await;
    assert!(!request.read_to_end().await.contains("0\r\n\r\n"), "the node must see that it is broken");
    assert_eq!(client.response().await.0, 400);
    // Of a small one the node learns nothing.
    let mut client = Connection::with(&gateway).await;
    client.send(format!("{head}5\r\nhello\r\nXX\r\n")).await;
    assert_eq!(client.response().await.0, 400);
    assert!(node.has_nothing());
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_of_its_body_takes_the_request_along() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
    client.send(format!("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\n{}", streamed())).await;
    let mut request = node.request().await;
    assert_eq!(request.read(20_000).await, streamed());
    drop(client);
    assert_eq!(request.read_to_end().await, "");
}

#[tokio::test]
async fn a_client_that_goes_away_before_its_response_takes_the_request_along() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut request = node.request().await;
    drop(client);
    assert_eq!(request.read_to_end().await, "");
}

#[tokio::test]
async fn a_response_that_breaks_off_does_not_look_whole() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    for (framing, part) in [("content-length: 100", "hello"), ("transfer-encoding: chunked", "5\r\nhello\r\n")] {
        let mut client = Connection::with(&gateway).await;
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
async fn a_response_may_come_before_the_body_has_gone() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
    client.send(format!("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n{}", streamed())).await;
    let mut request = node.request().await;
    request.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno").await;
    assert_eq!(client.response().await, (413, "no".to_owned()));
    // Neither connection waits for the rest.
    assert_eq!(client.read_to_end().await, "");
    request.read_to_end().await;
}

#[tokio::test]
async fn a_length_beside_a_coding_is_not_passed_on() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    for framing in
        ["content-length: 3\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 3"]
    {
        let mut client = Connection::with(&gateway).await;
        client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let mut request = node.request().await;
        request.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")).await;
        client.read_head().await.expect("a response");
        assert_eq!((client.header("content-length"), client.header("transfer-encoding")), (None, Some("chunked")));
        assert_eq!(client.read_until("0\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
        assert_eq!(request.read_to_end().await, "", "such a connection is not kept");
    }
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_go_on_and_the_node_is_not_asked() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
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
async fn trailers_go_through_both_ways() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
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
async fn a_body_where_none_may_be_harms_nobody() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("HEAD /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut request = node.request().await;
    request.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    client.read_head().await.expect("a response");
    assert_eq!(client.header("content-length"), Some("5"));
    client.send("GET /y HTTP/1.1\r\nhost: h\r\n\r\n").await;
    // What was left over on the first connection is no response to anybody.
    node.request().await.send(OK).await;
    assert_eq!(client.response().await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn the_target_of_a_request_to_a_proxy_is_the_host() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("GET http://a.example/x?y HTTP/1.1\r\nhost: b.example\r\n\r\n").await;
    let mut request = node.request().await;
    assert!(request.head.starts_with("GET /x?y HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("host"), Some("a.example"));
    request.send(OK).await;
    assert_eq!(client.response().await.0, 200);
}

#[tokio::test]
async fn another_protocol_is_neither_asked_for_nor_spoken() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    let mut request = node.request().await;
    assert_eq!((request.header("upgrade"), request.header("connection")), (None, None));
    request.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n").await;
    assert_eq!(client.response().await.0, 502);
}

#[tokio::test]
async fn a_response_on_the_way_to_the_real_one_is_passed_over() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut request = node.request().await;
    request.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await;
    request.send(OK).await;
    assert_eq!(client.response().await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn a_connection_header_of_the_client_takes_nothing_from_the_gateway() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
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
async fn requests_of_a_connection_are_answered_in_their_order() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("GET /1 HTTP/1.1\r\nhost: h\r\n\r\nGET /2 HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut connection = node.request().await;
    for number in ["1", "2"] {
        assert!(connection.head.starts_with(&format!("GET /{number} ")));
        connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}")).await;
        assert_eq!(client.response().await, (200, number.to_owned()));
        if number == "1" {
            connection.read_head().await.expect("the second request, on the connection that was kept");
        }
    }
}

#[tokio::test]
async fn a_node_that_sends_nothing_more_ends_the_response() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[("SYMBOLON_GATEWAY_TIMEOUT", "300ms")]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut request = node.request().await;
    request.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello").await;
    client.read_head().await.expect("a response");
    assert_eq!(client.read_to_end().await, "hello");
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_hold_its_node_for_ever() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[("SYMBOLON_SEND_TIMEOUT", "300ms")]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut request = node.request().await;
    request.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
    let piece = vec![b'x'; 1 << 20];
    // More than the buffers on the way take.
    while request.try_send(&piece).await {}
    drop(client);
}

#[tokio::test]
async fn a_response_of_two_lengths_is_none() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    for length in ["content-length: 5\r\ncontent-length: 9", "content-length: +5", "transfer-encoding: gzip, chunked"] {
        let mut client = Connection::with(&gateway).await;
        client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
        node.request().await.send(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\nhello")).await;
        assert_eq!(client.response().await.0, 502, "{length}");
    }
}

#[tokio::test]
async fn a_node_of_http_1_0_gets_whole_bodies() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut first = node.request().await;
    first.send("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(client.response().await.0, 200);
    client.send("POST /y HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
    let mut second = node.request().await;
    assert_eq!(second.read_until("0\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_its_body_is_not_the_nodes_failure() {
    let mut node = Node::start().await;
    let token = ("SYMBOLON_OPERATOR_TOKEN", "operator-token-of-the-tests");
    let gateway = gateway_before(&node, &[("SYMBOLON_GATEWAY_TIMEOUT", "300ms"), token]).await;
    for _ in 0..6 {
        let mut client = Connection::with(&gateway).await;
        client.send(format!("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\n{}", streamed())).await;
        let request = node.request().await;
        assert_eq!(client.response().await.0, 408);
        drop(request);
    }
    let seen = gateway.get("/v1/operator/gateway").bearer(token.1).send().await.json();
    assert_eq!(seen["nodes"][0]["ejected"], false);
}
