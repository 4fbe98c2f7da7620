//! What is made again on another node, and what is not.

use serde_json::Value;

use super::raw::{Connection, Node, gateway_before, gateway_before_all};
use crate::service::harness::{Service, until};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const TOKEN: (&str, &str) = ("SYMBOLON_OPERATOR_TOKEN", "operator-token-of-the-tests");

async fn seen(gateway: &Service) -> Value {
    gateway.get("/v1/operator/gateway").bearer(TOKEN.1).send().await.json()
}

#[tokio::test]
async fn a_read_that_a_node_did_not_answer_is_made_again_on_another() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let gateway = gateway_before_all(&[&first, &second], &[TOKEN]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let failing = tokio::select! {
        request = first.request() => { request.reset(); true }
        request = second.request() => { request.reset(); false }
    };
    let mut again = if failing { second.request().await } else { first.request().await };
    again.send(OK).await;
    assert_eq!(client.response().await.0, 200);
    assert_eq!(seen(&gateway).await["retries"], 1);
}

#[tokio::test]
async fn a_change_that_a_node_may_have_made_is_not_made_again() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let gateway = gateway_before_all(&[&first, &second], &[]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi").await;
    tokio::select! {
        mut request = first.request() => { request.read(2).await; request.reset() }
        mut request = second.request() => { request.read(2).await; request.reset() }
    }
    assert_eq!(client.response().await.0, 502);
    assert!(first.has_nothing() && second.has_nothing());
}

#[tokio::test]
async fn a_change_of_which_nothing_was_sent_goes_to_another_node() {
    let mut alive = Node::start().await;
    let gone =
        { tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address") };
    let gone = format!("http://{gone}");
    // Checks that never come leave both nodes in.
    let settings = [("SYMBOLON_CHECK_INTERVAL", "1h"), ("SYMBOLON_GATEWAY_ALGORITHM", "round_robin")];
    let gateway = Service::gateway(&["--node", &alive.url, "--node", &gone], &settings).await;
    for _ in 0..4 {
        let mut client = Connection::with(&gateway).await;
        client.send("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi").await;
        let mut request = alive.request().await;
        assert_eq!(request.read(2).await, "hi");
        request.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
        assert_eq!(client.response().await.0, 200);
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_node_has_closed_costs_nothing() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[TOKEN]).await;
    let mut client = Connection::with(&gateway).await;
    for _ in 0..20 {
        client.send("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n").await;
        let mut connection = node.request().await;
        connection.send(OK).await;
        assert_eq!(client.response().await.0, 200);
        drop(connection);
    }
    assert_eq!(seen(&gateway).await["retries"], 0);
}

#[tokio::test]
async fn second_attempts_end_with_their_budget() {
    let mut node = Node::start().await;
    let settings = [TOKEN, ("SYMBOLON_GATEWAY_RETRY_PERCENT", "0"), ("SYMBOLON_CHECK_INTERVAL", "1h")];
    let gateway = gateway_before(&node, &settings).await;
    let failing = tokio::spawn(async move {
        loop {
            node.request().await.reset();
        }
    });
    let requests = (0..100).map(|_| gateway.get("/x").send());
    let replies = futures_util::future::join_all(requests).await;
    assert!(replies.iter().all(|reply| reply.status == 502));
    let seen = seen(&gateway).await;
    let retries = seen["retries"].as_u64().expect("a number");
    // Ten a second in any case.
    assert!((1..=40).contains(&retries) && seen["retries_refused"].as_u64() > Some(50), "{seen}");
    failing.abort();
}

#[tokio::test]
async fn a_node_that_does_not_answer_in_time_is_left_for_another() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let gateway = gateway_before_all(&[&first, &second], &[("SYMBOLON_GATEWAY_TIMEOUT", "300ms")]).await;
    let mut client = Connection::with(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let (held, mut again) = tokio::select! {
        held = first.request() => (held, second.request().await),
        held = second.request() => (held, first.request().await),
    };
    again.send(OK).await;
    assert_eq!(client.response().await.0, 200);
    drop(held);
    client.send("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.response().await.0, 504);
}

#[tokio::test]
async fn without_a_node_that_is_well_the_gateway_says_so() {
    let node = Node::start().await;
    let gateway = gateway_before(&node, &[TOKEN, ("SYMBOLON_CHECK_INTERVAL", "50ms")]).await;
    drop(node);
    until("it is unready", async || gateway.get("/v1/health/ready").send().await.status == 503).await;
    assert_eq!(gateway.get("/v1/health/live").send().await.status, 200);
    gateway.get("/x").send().await.problem(502, "bad-gateway");
    assert_eq!(seen(&gateway).await["nodes"][0]["is_healthy"], false);
}

#[tokio::test]
async fn what_operators_see_is_for_operators() {
    let node = Node::start().await;
    let gateway = gateway_before(&node, &[TOKEN]).await;
    for path in ["/v1/operator/gateway", "/metrics"] {
        gateway.get(path).send().await.problem(401, "operator-only");
        gateway.get(path).bearer("wrong-token-of-nobody").send().await.problem(401, "operator-only");
        assert_eq!(gateway.get(path).bearer(TOKEN.1).send().await.status, 200);
    }
    let choose = |algorithm: &str| {
        gateway.put("/v1/operator/gateway/algorithm", serde_json::json!({"algorithm": algorithm})).bearer(TOKEN.1)
    };
    assert_eq!(choose("hash").send().await.status, 204);
    assert_eq!(seen(&gateway).await["algorithm"], "hash");
    assert_eq!(choose("best").send().await.problem(422, "invalid-value"), ["algorithm"]);
}

#[tokio::test]
async fn guesses_at_the_gateways_operator_token_are_counted_by_address() {
    let node = Node::start().await;
    let gateway = gateway_before(&node, &[TOKEN, ("SYMBOLON_THROTTLE_OPERATOR", "3/1h")]).await;
    for _ in 0..3 {
        let guess = gateway.get("/v1/operator/gateway").bearer("wrong-token-of-nobody");
        guess.send().await.problem(401, "operator-only");
    }
    for path in ["/v1/operator/gateway", "/metrics"] {
        let refused = gateway.get(path).bearer("wrong-token-of-nobody").send().await;
        refused.problem(429, "too-many-attempts");
        assert!(!refused.header("retry-after").is_empty());
        gateway.get(path).send().await.problem(401, "operator-only");
        assert_eq!(gateway.get(path).bearer(TOKEN.1).send().await.status, 200);
    }
}

#[tokio::test]
async fn a_node_that_refuses_requests_stays_in() {
    let mut node = Node::start().await;
    let gateway = gateway_before(&node, &[TOKEN]).await;
    for _ in 0..20 {
        let mut client = Connection::with(&gateway).await;
        client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let mut request = node.request().await;
        let refusal =
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        request.send(refusal).await;
        assert_eq!(client.response().await.0, 503);
        assert_eq!(client.header("retry-after"), Some("1"));
    }
    let node = &seen(&gateway).await["nodes"][0];
    assert_eq!((&node["ejected"], &node["errors"]), (&Value::from(false), &Value::from(0)), "{node}");
}
