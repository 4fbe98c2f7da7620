//! Scaling: the demand of the fleet, and decisions on its size.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Reply, Service,
    servers::redis::Redis,
    trio::{Trio, on_both_stores},
    until,
};

on_both_stores! {
    another_instance_takes_over_scaling_decisions
    every_instance_returns_the_same_decisions
}

async fn demand(service: &Service) -> Reply {
    service.operator(Method::GET, "/demand").send().await
}

async fn scaling(service: &Service) -> Value {
    service.operator_view("/scaling").await
}

async fn decisions(service: &Service) -> Vec<Value> {
    service.operator_view("/scaling/decisions").await["decisions"].as_array().expect("decisions").clone()
}

/// Makes so many requests of the class read.
async fn read(service: &Service, times: usize) {
    for _ in 0..times {
        service.get("/v1/session").send().await.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn an_idle_fleet_has_a_demand_of_zero() {
    let service = Service::start().await;
    until("the load was measured", async || demand(&service).await.status == 200).await;
    assert_eq!(demand(&service).await.json()["demand_replicas"], 0.0);
}

#[tokio::test]
async fn an_unknown_demand_is_a_503() {
    let service = Service::start().await;
    read(&service, 5).await;
    until("the load of class read was measured", async || {
        let reply = demand(&service).await;
        reply.status == 503 && reply.text.contains("class read")
    })
    .await;
    demand(&service).await.problem(503, "unavailable");
}

#[tokio::test]
async fn the_demand_is_known_after_enough_requests() {
    let service = Service::with(&[("SYMBOLON_SCALING_CORES", "0.5")]).await;
    until("the demand is known", async || {
        read(&service, 100).await;
        demand(&service).await.status == 200 && scaling(&service).await["demand"].as_f64() > Some(0.0)
    })
    .await;
    let vertical = service.operator_view("/scaling/vertical").await;
    assert_eq!((&vertical["status"], &vertical["analysis_period"]), (&json!("completed"), &json!("15 minutes")));
}

#[tokio::test]
async fn the_demand_is_a_503_while_the_registry_is_down() {
    let mut redis = Redis::start();
    let service = Service::with(&[("SYMBOLON_REDIS_URL", &redis.url())]).await;
    until("the load was measured", async || demand(&service).await.status == 200).await;
    redis.kill();
    until("the demand is unknown", async || demand(&service).await.status == 503).await;
    redis.start_again();
    until("the demand is known again", async || demand(&service).await.status == 200).await;
}

#[tokio::test]
async fn a_scaling_decision_has_reasons_and_numbers() {
    let service = Service::with(&[("SYMBOLON_SCALING_MIN", "3")]).await;
    until("there is a decision", async || !decisions(&service).await.is_empty()).await;
    until("the demand was known at the last decision", async || {
        scaling(&service).await["last"]["numbers"]["demand"] == 0.0
    })
    .await;
    let all = decisions(&service).await;
    let decision = all.last().expect("the first decision");
    assert_eq!((&decision["outcome"], &decision["numbers"]["ready"]), (&json!("scaled_up"), &json!(1)), "{decision}");
    assert_eq!((&decision["from"], &decision["to"]), (&json!(1), &json!(3)), "{decision}");
    assert!(decision["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty()), "{decision}");
    let status = scaling(&service).await;
    assert_eq!((&status["desired"], &status["policy"]), (&json!(3), &json!("demand")), "{status}");
    assert_eq!(status["bounds"], json!({"min": 3, "max": 10}));
}

#[tokio::test]
async fn a_custom_rule_adds_an_instance_and_starts_the_cooldown() {
    let service =
        Service::with(&[("SYMBOLON_SCALING_POLICY", "threshold"), ("SYMBOLON_SCALING_RULES", "always=utilization>-1")])
            .await;
    until("the cooldown has begun", async || {
        decisions(&service).await.first().is_some_and(|it| it["outcome"] == "cooldown")
    })
    .await;
    let before = &decisions(&service).await[1];
    assert_eq!((&before["outcome"], &before["rule"]), (&json!("custom_rule_triggered"), &json!("always")));
    assert_eq!((&before["from"], &before["to"]), (&json!(1), &json!(2)));
}

async fn every_instance_returns_the_same_decisions(trio: Trio) {
    until("there is a decision", async || !decisions(&trio.instances[0]).await.is_empty()).await;
    let expected = decisions(&trio.instances[0]).await;
    for instance in &trio.instances {
        let shown = decisions(instance).await;
        assert!(expected.iter().all(|decision| shown.contains(decision)), "{shown:?}");
    }
}

async fn another_instance_takes_over_scaling_decisions(mut trio: Trio) {
    until("there is a decision", async || scaling(&trio.instances[0]).await["last"]["by"].is_string()).await;
    let before = scaling(&trio.instances[0]).await["last"].clone();
    let dead = Trio::index_of(before["by"].as_str().expect("an id"));
    let dead_id = before["by"].clone();
    trio.instances[dead].kill().await;
    let left = trio.instances.iter().enumerate().find(|(index, _)| *index != dead).expect("two are left").1;
    until("another instance decides", async || scaling(left).await["last"]["by"] != dead_id).await;
    let view = scaling(left).await;
    assert_eq!(view["decided_by"], view["last"]["by"], "{view}");
    let kept = decisions(left).await;
    assert!(kept.iter().any(|decision| decision["by"] == dead_id), "former decisions are lost: {kept:?}");
}
