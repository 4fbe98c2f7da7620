//! Problems of requests to a gateway.

use super::{assert_snapshot, assert_snapshot_on};
use crate::{
    gateway::node::Node,
    support::{Connection, Service, servers::free_port},
};

#[tokio::test]
async fn problems_of_nodes() {
    let without_nodes = Service::gateway(&[], &[]).await;
    assert_snapshot("no-node", &without_nodes.get("/x").send().await);
    let gone = format!("http://127.0.0.1:{}", free_port());
    let gateway = Service::gateway(&["--node", &gone], &[("SYMBOLON_HEALTH_CHECK_INTERVAL", "1h")]).await;
    assert_snapshot("bad-gateway", &gateway.get("/x").send().await);
    let node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[("SYMBOLON_GATEWAY_TIMEOUT", "300ms")]).await;
    assert_snapshot("gateway-timeout", &gateway.post("/x", serde_json::Value::Null).send().await);
}

#[tokio::test]
async fn problems_of_http() {
    let node = Node::start().await;
    let gateway = Service::gateway_to(&[&node.url], &[]).await;
    let headers: String = (0..98).map(|number| format!("x-{number}: a\r\n")).collect();
    let mut client = Connection::to(&gateway).await;
    client.send(format!("GET /x HTTP/1.1\r\nhost: h\r\n{headers}\r\n")).await;
    assert_snapshot_on(&mut client, "too-many-headers").await;
    let mut client = Connection::to(&gateway).await;
    client.send("POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n").await;
    assert_snapshot_on(&mut client, "unknown-transfer-coding").await;
}
