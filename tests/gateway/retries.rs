//! Retries on another node, health of nodes, and access to the gateway's operator endpoints.

use serde_json::Value;

use super::node::Node;
use crate::support::{Connection, OPERATOR_TOKEN, Service, servers::free_port, until};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn view(gateway: &Service) -> Value {
    gateway.operator_view("/gateway").await
}

#[tokio::test]
async fn an_unanswered_read_is_retried_on_another_node() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let gateway = Service::gateway_to(&[&first.url, &second.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let failing = tokio::select! {
        request = first.request() => { request.reset(); true }
        request = second.request() => { request.reset(); false }
    };
    let mut again = if failing { second.request().await } else { first.request().await };
    again.send(OK).await;
    assert_eq!(client.response().await.0, 200);
    assert_eq!(view(&gateway).await["retries"], 1);
}

#[tokio::test]
async fn a_write_that_was_sent_is_not_retried() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let gateway = Service::gateway_to(&[&first.url, &second.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    client.send("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi").await;
    tokio::select! {
        mut request = first.request() => { request.read(2).await; request.reset() }
        mut request = second.request() => { request.read(2).await; request.reset() }
    }
    assert_eq!(client.response().await.0, 502);
    assert!(first.has_no_request() && second.has_no_request());
}

#[tokio::test]
async fn a_write_that_was_not_sent_is_retried_on_another_node() {
    let mut alive = Node::start().await;
    let gone = format!("http://127.0.0.1:{}", free_port());
    // Without a health check both nodes stay in.
    let settings = [("SYMBOLON_HEALTH_CHECK_INTERVAL", "1h"), ("SYMBOLON_GATEWAY_ALGORITHM", "round_robin")];
    let gateway = Service::gateway(&["--node", &alive.url, "--node", &gone], &settings).await;
    for _ in 0..4 {
        let mut client = Connection::to(&gateway).await;
        client.send("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi").await;
        let mut request = alive.request().await;
        assert_eq!(request.read(2).await, "hi");
        request.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
        assert_eq!(client.response().await.0, 200);
    }
}

#[tokio::test]
async fn a_pooled_connection_closed_by_the_node_costs_no_retry() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let mut client = Connection::to(&gateway).await;
    for _ in 0..20 {
        client.send("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n").await;
        let mut connection = node.request().await;
        connection.send(OK).await;
        assert_eq!(client.response().await.0, 200);
        drop(connection);
    }
    assert_eq!(view(&gateway).await["retries"], 0);
}

#[tokio::test]
async fn retries_end_with_their_budget() {
    let mut node = Node::start().await;
    let settings = [("SYMBOLON_GATEWAY_RETRY_PERCENT", "0"), ("SYMBOLON_HEALTH_CHECK_INTERVAL", "1h")];
    let gateway = Service::gateway_to(&[&node.url], &settings).await;
    let failing = tokio::spawn(async move {
        loop {
            node.request().await.reset();
        }
    });
    let requests = (0..100).map(|_| gateway.get("/x").send());
    let replies = futures_util::future::join_all(requests).await;
    assert!(replies.iter().all(|reply| reply.status == 502));
    let view = view(&gateway).await;
    let retries = view["retries"].as_u64().expect("a number");
    // Ten a second are permitted whatever the percentage.
    assert!((1..=40).contains(&retries) && view["retries_refused"].as_u64() > Some(50), "{view}");
    failing.abort();
}

#[tokio::test]
async fn a_read_that_times_out_is_retried_on_another_node() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let gateway = Service::gateway_to(&[&first.url, &second.url], &[("SYMBOLON_GATEWAY_TIMEOUT", "300ms")]).await;
    let mut client = Connection::to(&gateway).await;
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
async fn without_a_healthy_node_the_gateway_is_unready() {
    let node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[("SYMBOLON_HEALTH_CHECK_INTERVAL", "50ms")]).await;
    drop(node);
    until("the gateway is unready", async || !gateway.is_ready().await).await;
    assert_eq!(gateway.get("/v1/health/live").send().await.status, 200);
    gateway.get("/x").send().await.problem(502, "bad-gateway");
    assert_eq!(view(&gateway).await["nodes"][0]["is_healthy"], false);
}

#[tokio::test]
async fn operator_endpoints_of_the_gateway_need_the_operator_token() {
    let node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    for path in ["/v1/operator/gateway", "/metrics"] {
        gateway.get(path).send().await.problem(401, "operator-only");
        gateway.get(path).bearer("a-wrong-operator-token").send().await.problem(401, "operator-only");
        assert_eq!(gateway.get(path).bearer(OPERATOR_TOKEN).send().await.status, 200);
    }
    let choose = |algorithm: &str| {
        gateway
            .put("/v1/operator/gateway/algorithm", serde_json::json!({"algorithm": algorithm}))
            .bearer(OPERATOR_TOKEN)
    };
    assert_eq!(choose("hash").send().await.status, 204);
    assert_eq!(view(&gateway).await["algorithm"], "hash");
    assert_eq!(choose("best").send().await.problem(422, "invalid-value"), ["algorithm"]);
}

#[tokio::test]
async fn wrong_operator_tokens_at_the_gateway_are_throttled_by_address() {
    let node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[("SYMBOLON_THROTTLE_OPERATOR", "3/1h")]).await;
    for _ in 0..3 {
        let guess = gateway.get("/v1/operator/gateway").bearer("a-wrong-operator-token");
        guess.send().await.problem(401, "operator-only");
    }
    for path in ["/v1/operator/gateway", "/metrics"] {
        let refused = gateway.get(path).bearer("a-wrong-operator-token").send().await;
        refused.problem(429, "too-many-attempts");
        assert!((1..=1200).contains(&refused.retry_after()), "{refused:?}");
        gateway.get(path).send().await.problem(401, "operator-only");
        assert_eq!(gateway.get(path).bearer(OPERATOR_TOKEN).send().await.status, 200);
    }
}

#[tokio::test]
async fn a_node_that_answers_503_is_not_ejected() {
    let mut node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    for _ in 0..20 {
        let mut client = Connection::to(&gateway).await;
        client.send("GET /x HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let mut request = node.request().await;
        let refusal =
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        request.send(refusal).await;
        assert_eq!(client.response().await.0, 503);
        assert_eq!(client.header("retry-after"), Some("1"));
    }
    let node = &view(&gateway).await["nodes"][0];
    assert_eq!((&node["ejected"], &node["errors"]), (&Value::from(false), &Value::from(0)), "{node}");
}
