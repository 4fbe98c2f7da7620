//! A gateway before the instances of a fleet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    servers::redis::Redis,
    service::harness::{Service, until},
};

async fn nodes(gateway: &Service) -> Vec<Value> {
    let seen = gateway.operator(reqwest::Method::GET, "/gateway").send().await.json();
    seen["nodes"].as_array().cloned().unwrap_or_default()
}

async fn ready(gateway: &Service, count: usize) {
    until("the gateway knows the fleet", async || {
        let nodes = nodes(gateway).await;
        nodes.len() == count && nodes.iter().all(|node| node["is_healthy"] == true && node["draining"] == false)
    })
    .await;
}

#[tokio::test]
async fn instances_that_come_and_go_are_followed() {
    let first = Service::start().await;
    let gateway = first.its_gateway(&[]).await;
    ready(&gateway, 1).await;
    let token = gateway.member("ada").await;
    let mut second = first.another().await;
    ready(&gateway, 2).await;
    until("both get requests", async || {
        assert_eq!(gateway.session_status(&token).await, 200);
        nodes(&gateway).await.iter().all(|node| node["requests"].as_u64() > Some(0))
    })
    .await;
    assert!(second.terminate().await);
    ready(&gateway, 1).await;
    assert_eq!(gateway.session_status(&token).await, 200);
}

#[tokio::test]
async fn a_client_is_known_by_the_gateways_word_only_where_that_is_trusted() {
    for (trusted, expected) in [(true, "203.0.113.9"), (false, "127.0.0.1")] {
        let settings: &[(&str, &str)] = if trusted { &[("SYMBOLON_TRUSTED_PROXIES", "127.0.0.1")] } else { &[] };
        let instance = Service::with(settings).await;
        let gateway = instance.its_gateway(settings).await;
        ready(&gateway, 1).await;
        gateway.register("ada").await;
        let login = json!({"login_name": "ada", "password": crate::service::harness::PASSWORD});
        let reply = gateway.post("/v1/login", login).header("x-forwarded-for", "203.0.113.9").send().await;
        assert_eq!(reply.json()["session"]["address"], expected);
    }
}

/// How many more requests each instance has had after `count` that have `header`, by the instances' zones.
async fn taken(gateway: &Service, header: (&str, &str), count: usize) -> BTreeMap<String, u64> {
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
    let gateway = first.its_gateway(settings).await;
    ready(&gateway, 2).await;
    (first, second, gateway)
}

#[tokio::test]
async fn callers_are_served_in_the_zone_that_a_header_names() {
    let settings = [("SYMBOLON_GATEWAY_ALGORITHM", "geographic"), ("SYMBOLON_GATEWAY_ZONE_HEADER", "x-zone")];
    let settings = [settings[0], settings[1], ("SYMBOLON_ZONE", "a")];
    let (_first, _second, gateway) = in_two_zones(&settings).await;
    let zone = |name: &str| format!("\"{name}\"");
    let unsaid = taken(&gateway, ("x-other", "b"), 20).await;
    assert_eq!(unsaid[&zone("a")], 20, "{unsaid:?}");
    // Whoever is new gets its share slowly, and others help out.
    until("zone b serves its callers", async || taken(&gateway, ("x-zone", "b"), 5).await[&zone("b")] > 0).await;
}

#[tokio::test]
async fn what_a_header_holds_together_stays_on_one_instance() {
    let settings = [("SYMBOLON_GATEWAY_ALGORITHM", "hash"), ("SYMBOLON_GATEWAY_HASH_BY", "x-tenant")];
    let (_first, _second, gateway) = in_two_zones(&settings).await;
    let mut used = BTreeSet::new();
    for tenant in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let taken = taken(&gateway, ("x-tenant", tenant), 5).await;
        let on: Vec<&String> = taken.iter().filter(|(_, count)| **count > 0).map(|(zone, _)| zone).collect();
        assert_eq!(on.len(), 1, "{taken:?}");
        used.insert(on[0].clone());
    }
    assert_eq!(used.len(), 2, "not all on one instance");
}

#[tokio::test]
async fn a_users_requests_stay_on_one_instance_with_hash() {
    let first = Service::start().await;
    let _others = [first.another().await, first.another().await];
    let gateway = first.its_gateway(&[("SYMBOLON_GATEWAY_ALGORITHM", "hash")]).await;
    ready(&gateway, 3).await;
    let token = gateway.member("ada").await;
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
async fn a_lost_registry_leaves_the_fleet_as_it_was() {
    let mut redis = Redis::start();
    let url = redis.url();
    let first =
        Service::with(&[("SYMBOLON_REDIS_URL", &url), ("SYMBOLON_OPERATOR_TOKEN", "operator-token-of-tests")]).await;
    let settings = [("SYMBOLON_REDIS_URL", url.as_str()), ("SYMBOLON_OPERATOR_TOKEN", "operator-token-of-tests")];
    let gateway = first.its_gateway(&settings).await;
    let known = async || {
        let seen = gateway.get("/v1/operator/gateway").bearer("operator-token-of-tests").send().await.json();
        seen["nodes"].as_array().map_or(0, Vec::len)
    };
    until("the gateway knows the instance", async || known().await == 1).await;
    redis.kill();
    // Longer than it takes an instance that is silent to be gone.
    tokio::time::sleep(symbolon::fleet::GONE_AFTER * 2).await;
    assert_eq!(known().await, 1);
    assert_eq!(gateway.get("/v1/health/live").send().await.status, 200);
    assert_eq!(gateway.get("/openapi.json").send().await.status, 200, "what needs no Redis is served");
}

#[tokio::test]
async fn what_operators_choose_at_any_instance_is_in_force_at_the_gateway() {
    let first = Service::start().await;
    let second = first.another().await;
    let gateway = first.its_gateway(&[]).await;
    ready(&gateway, 2).await;
    let body = json!({"algorithm": "least_connections"});
    let chosen = second.operator(reqwest::Method::PUT, "/balancer/algorithm").json(&body).send().await;
    assert_eq!(chosen.status, 204);
    until("the algorithm is in force", async || {
        gateway.operator(reqwest::Method::GET, "/gateway").send().await.json()["algorithm"] == "least_connections"
    })
    .await;
    let id = nodes(&gateway).await[0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/balancer/nodes/{id}");
    assert_eq!(second.operator(reqwest::Method::DELETE, &path).send().await.status, 204);
    ready(&gateway, 1).await;
    assert_ne!(nodes(&gateway).await[0]["id"], id);
}

#[tokio::test]
async fn instances_are_spoken_with_in_http_2_where_that_is_set() {
    let first = Service::start().await;
    let gateway = first.its_gateway(&[("SYMBOLON_GATEWAY_HTTP2", "on")]).await;
    ready(&gateway, 1).await;
    let token = gateway.member("ada").await;
    let patch = || gateway.patch("/v1/users/me/preferences", json!({"theme": "dark"})).bearer(&token).send();
    let replies = futures_util::future::join_all((0..20).map(|_| patch())).await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    assert_eq!(nodes(&gateway).await[0]["idle_connections"], 0, "one connection carries all");
}
