//! Changes of operators to the balancer of a fleet.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Reply, Service,
    trio::{Trio, balancer, node, on_both_stores},
    until,
};

on_both_stores! {
    the_algorithm_is_set_for_the_whole_fleet
    an_added_node_is_known_everywhere_until_removed
    a_removed_instance_is_out_everywhere_until_readmitted
}

async fn choose(service: &Service, body: Value) -> Reply {
    service.operator(Method::PUT, "/balancer/algorithm").json(&body).send().await
}

async fn add(service: &Service, body: Value) -> Reply {
    service.operator(Method::POST, "/balancer/nodes").json(&body).send().await
}

async fn remove(service: &Service, id: &str) -> Reply {
    service.operator(Method::DELETE, &format!("/balancer/nodes/{id}")).send().await
}

async fn the_algorithm_is_set_for_the_whole_fleet(trio: Trio) {
    for algorithm in [json!("peak_ewma"), json!("hash"), json!(null)] {
        assert_eq!(choose(&trio.instances[0], json!({ "algorithm": algorithm })).await.status, 204);
        for instance in &trio.instances {
            assert_eq!(balancer(instance).await["algorithm"], algorithm);
        }
    }
}

async fn an_added_node_is_known_everywhere_until_removed(trio: Trio) {
    let [first, second, _] = trio.instances.as_slice() else { panic!("three instances") };
    let added = add(first, json!({"id": "x", "url": "http://127.0.0.1:1", "weight": 7, "zone": "z"})).await;
    assert_eq!(added.status, 201, "{}", added.text);
    let expected = json!({
        "id": "x", "url": "http://127.0.0.1:1", "is_healthy": true, "added": true, "removed": false, "draining": false,
        "current_connections": 0, "max_connections": 1000, "average_response_time": 0.0, "weight": 7,
        "region": "default", "zone": "z", "version": null, "last_health_check": null,
    });
    assert_eq!(added.json(), expected);
    let stats = balancer(second).await;
    assert_eq!((node(&stats, "x"), &stats["total_nodes"], &stats["healthy_nodes"]), (expected, &json!(4), &json!(4)));
    let replaced = add(second, json!({"id": "x", "url": "http://[::1]:2", "max_connections": 5})).await.json();
    assert_eq!((&replaced["url"], &replaced["weight"]), (&json!("http://[::1]:2"), &json!(1)));
    assert_eq!(node(&balancer(first).await, "x"), replaced);
    assert_eq!(remove(second, "x").await.status, 204);
    assert_eq!(balancer(first).await["total_nodes"], 3);
    remove(first, "x").await.problem(404, "not-found");
}

async fn a_removed_instance_is_out_everywhere_until_readmitted(mut trio: Trio) {
    assert_eq!(remove(&trio.instances[0], "b").await.status, 204);
    assert_eq!(remove(&trio.instances[0], "b").await.status, 204, "removing it again changes nothing");
    for instance in &trio.instances {
        let stats = balancer(instance).await;
        let shown = node(&stats, "b");
        assert_eq!((&shown["removed"], &shown["is_healthy"]), (&json!(true), &json!(false)));
        assert_eq!((&stats["total_nodes"], &stats["healthy_nodes"]), (&json!(3), &json!(2)));
    }
    let other_url = json!({"id": "b", "url": "http://127.0.0.1:1"});
    assert_eq!(add(&trio.instances[0], other_url).await.problem(422, "invalid-value"), ["id"]);
    let same_url = json!({"id": "b", "url": trio.instances[1].url, "weight": 9});
    let shown = add(&trio.instances[2], same_url).await.json();
    assert_eq!((&shown["removed"], &shown["is_healthy"], &shown["weight"]), (&json!(false), &json!(true), &json!(1)));
    assert_eq!(balancer(&trio.instances[0]).await["healthy_nodes"], 3);
    trio.instances[1].kill().await;
    until("the killed instance is not listed", async || balancer(&trio.instances[0]).await["total_nodes"] == 2).await;
}

#[tokio::test]
async fn invalid_balancer_changes_name_the_field() {
    let service = Service::start().await;
    assert_eq!(choose(&service, json!({"algorithm": "random"})).await.problem(422, "invalid-value"), ["algorithm"]);
    for wrong in [json!({"algorithm": 5}), json!({}), json!({"algorithm": {"hash": null}})] {
        assert_eq!(choose(&service, wrong).await.problem(400, "malformed-request"), ["algorithm"]);
    }
    let good = json!({"id": "x", "url": "http://a"});
    for (field, wrong) in [
        ("id", json!("")),
        ("id", json!("a b")),
        ("id", json!("a".repeat(129))),
        ("url", json!("http://a/path")),
        ("url", json!("https://a")),
        ("weight", json!(0)),
        ("weight", json!(1001)),
        ("max_connections", json!(0)),
        ("region", json!("")),
        ("zone", json!("a\nb")),
    ] {
        let mut body = good.clone();
        body[field] = wrong;
        assert_eq!(add(&service, body).await.problem(422, "invalid-value"), [field]);
    }
    for (field, wrong) in [("weight", json!(-1)), ("max_connections", json!(null)), ("x", json!(1))] {
        let mut body = good.clone();
        body[field] = wrong;
        assert_eq!(add(&service, body).await.problem(400, "malformed-request"), [field]);
    }
    assert_eq!(add(&service, json!({"id": " ", "url": ""})).await.problem(422, "invalid-value"), ["id", "url"]);
    remove(&service, "unknown").await.problem(404, "not-found");
    assert_eq!(balancer(&service).await["total_nodes"], 1);
}

#[tokio::test]
async fn balancer_changes_outlive_every_instance() {
    let mut service = Service::start().await;
    choose(&service, json!({"algorithm": "geographic"})).await;
    add(&service, json!({"id": "x", "url": "http://a"})).await;
    service.kill().await;
    let service = service.another().await;
    let stats = balancer(&service).await;
    assert_eq!((&stats["algorithm"], &node(&stats, "x")["added"]), (&json!("geographic"), &json!(true)));
}
