//! The gateway of a fleet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{PASSWORD, Service, TRUST_LOOPBACK, holds_for, servers::redis::Redis, until};

async fn nodes(gateway: &Service) -> Vec<Value> {
    gateway.operator_view("/gateway").await["nodes"].as_array().expect("nodes").clone()
}

async fn until_it_has(gateway: &Service, count: usize) {
    until("all instances are nodes of the gateway", async || {
        let nodes = nodes(gateway).await;
        nodes.len() == count && nodes.iter().all(|node| node["is_healthy"] == true && node["draining"] == false)
    })
    .await;
}

#[tokio::test]
async fn the_gateway_follows_instances_that_join_and_leave() {
    let first = Service::start().await;
    let gateway = first.fleet_gateway(&[]).await;
    until_it_has(&gateway, 1).await;
    let token = gateway.register_and_login("ada").await;
    let mut second = first.another().await;
    until_it_has(&gateway, 2).await;
    until("both instances get requests", async || {
        assert_eq!(gateway.session_status(&token).await, 200);
        nodes(&gateway).await.iter().all(|node| node["requests"].as_u64() > Some(0))
    })
    .await;
    assert!(second.terminate().await);
    until_it_has(&gateway, 1).await;
    assert_eq!(gateway.session_status(&token).await, 200);
}

#[tokio::test]
async fn forwarded_addresses_count_only_from_trusted_proxies() {
    for (trusted, expected) in [(true, "203.0.113.9"), (false, "127.0.0.1")] {
        let settings: &[(&str, &str)] = if trusted { &[TRUST_LOOPBACK] } else { &[] };
        let instance = Service::with(settings).await;
        let gateway = instance.fleet_gateway(settings).await;
        until_it_has(&gateway, 1).await;
        gateway.register("ada").await;
        let login = json!({"login_name": "ada", "password": PASSWORD});
        let reply = gateway.post("/v1/login", login).header("x-forwarded-for", "203.0.113.9").send().await;
        assert_eq!(reply.json()["session"]["address"], expected);
    }
}

/// Sends requests with a header; returns how many of them went to the instance in each zone.
async fn spread(gateway: &Service, header: (&str, &str), count: usize) -> BTreeMap<String, u64> {
    let by_zone = async || {
        let nodes = nodes(gateway).await;
        let requests = nodes.iter().map(|node| (node["zone"].to_string(), node["requests"].as_u64().unwrap_or(0)));
        requests.collect::<BTreeMap<_, _>>()
    };
    let before = by_zone().await;
    for _ in 0..count {
        assert_eq!(gateway.get("/openapi.json").header(header.0, header.1).send().await.status, 200);
    }
    by_zone().await.into_iter().map(|(zone, after)| (zone.clone(), after - before[&zone])).collect()
}

/// An instance in zone a, one in zone b, and a gateway to both.
async fn in_two_zones(settings: &[(&str, &str)]) -> (Service, Service, Service) {
    let first = Service::with(&[("SYMBOLON_ZONE", "a")]).await;
    let second = first.another_with(&[("SYMBOLON_ZONE", "b")]).await;
    let gateway = first.fleet_gateway(settings).await;
    until_it_has(&gateway, 2).await;
    (first, second, gateway)
}

#[tokio::test]
async fn requests_go_to_the_zone_named_in_a_header() {
    let settings = [("SYMBOLON_GATEWAY_ALGORITHM", "geographic"), ("SYMBOLON_GATEWAY_ZONE_HEADER", "x-zone")];
    let settings = [settings[0], settings[1], ("SYMBOLON_ZONE", "a")];
    let (_first, _second, gateway) = in_two_zones(&settings).await;
    let zone = |name: &str| format!("\"{name}\"");
    let without_zone = spread(&gateway, ("x-other", "b"), 20).await;
    assert_eq!(without_zone[&zone("a")], 20, "{without_zone:?}");
    // An instance that is new to the gateway gets its share gradually.
    until("the instance in zone b gets requests", async || spread(&gateway, ("x-zone", "b"), 5).await[&zone("b")] > 0)
        .await;
}

#[tokio::test]
async fn requests_with_the_same_header_value_go_to_one_instance() {
    let settings = [("SYMBOLON_GATEWAY_ALGORITHM", "hash"), ("SYMBOLON_GATEWAY_HASH_BY", "x-tenant")];
    let (_first, _second, gateway) = in_two_zones(&settings).await;
    let mut used = BTreeSet::new();
    for tenant in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let spread = spread(&gateway, ("x-tenant", tenant), 5).await;
        let on: Vec<&String> = spread.iter().filter(|(_, count)| **count > 0).map(|(zone, _)| zone).collect();
        assert_eq!(on.len(), 1, "{spread:?}");
        used.insert(on[0].clone());
    }
    assert_eq!(used.len(), 2, "all tenants are on one instance");
}

#[tokio::test]
async fn the_hash_algorithm_keeps_a_user_on_one_instance() {
    let first = Service::start().await;
    let _others = [first.another().await, first.another().await];
    let gateway = first.fleet_gateway(&[("SYMBOLON_GATEWAY_ALGORITHM", "hash")]).await;
    until_it_has(&gateway, 3).await;
    let token = gateway.register_and_login("ada").await;
    let count = |nodes: Vec<Value>| nodes.iter().map(|node| node["requests"].as_u64().unwrap_or(0)).collect::<Vec<_>>();
    let before = count(nodes(&gateway).await);
    for _ in 0..30 {
        assert_eq!(gateway.session_status(&token).await, 200);
    }
    let grown: BTreeSet<u64> =
        count(nodes(&gateway).await).iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(grown, BTreeSet::from([0, 30]));
}

#[tokio::test]
async fn the_gateway_keeps_its_nodes_while_the_registry_is_down() {
    let mut redis = Redis::start();
    let url = redis.url();
    let settings = [("SYMBOLON_REDIS_URL", url.as_str())];
    let first = Service::with(&settings).await;
    let gateway = first.fleet_gateway(&settings).await;
    until_it_has(&gateway, 1).await;
    redis.kill();
    // Twice the time after which an instance without heartbeats leaves a registry that answers.
    let keeps_node = async || nodes(&gateway).await.len() == 1;
    holds_for(symbolon::fleet::HEARTBEAT_TIMEOUT * 2, "the gateway keeps its node", keeps_node).await;
    assert_eq!(gateway.get("/v1/health/live").send().await.status, 200);
    assert_eq!(gateway.get("/openapi.json").send().await.status, 200, "requests that need no Redis are served");
}

#[tokio::test]
async fn balancer_changes_at_any_instance_apply_at_the_gateway() {
    let first = Service::start().await;
    let second = first.another().await;
    let gateway = first.fleet_gateway(&[]).await;
    until_it_has(&gateway, 2).await;
    let body = json!({"algorithm": "least_connections"});
    let reply = second.operator(reqwest::Method::PUT, "/balancer/algorithm").json(&body).send().await;
    assert_eq!(reply.status, 204);
    until("the algorithm is the chosen one", async || {
        gateway.operator_view("/gateway").await["algorithm"] == "least_connections"
    })
    .await;
    let id = nodes(&gateway).await[0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/balancer/nodes/{id}");
    assert_eq!(second.operator(reqwest::Method::DELETE, &path).send().await.status, 204);
    until_it_has(&gateway, 1).await;
    assert_ne!(nodes(&gateway).await[0]["id"], id);
}

#[tokio::test]
async fn http2_to_instances_is_used_where_configured() {
    let first = Service::start().await;
    let gateway = first.fleet_gateway(&[("SYMBOLON_GATEWAY_HTTP2", "on")]).await;
    until_it_has(&gateway, 1).await;
    let token = gateway.register_and_login("ada").await;
    let patch = || gateway.patch("/v1/users/me/preferences", json!({"theme": "dark"})).bearer(&token).send();
    let replies = futures_util::future::join_all((0..20).map(|_| patch())).await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    assert_eq!(nodes(&gateway).await[0]["idle_connections"], 0, "one connection carries all requests");
}
