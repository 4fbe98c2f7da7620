//! What the fleet says of how many instances there should be.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    fleet::{Trio, on_both_stores},
    harness::{Reply, Service, until},
    real_stores::TOKEN,
};
use crate::servers::redis::Redis;

on_both_stores! {
    another_one_decides_when_the_decider_dies_and_goes_on_where_it_ended
    every_instance_tells_the_same_decisions
}

async fn get(service: &Service, path: &str) -> Reply {
    service.request(Method::GET, &format!("/v1/operator{path}")).bearer(TOKEN).send().await
}

async fn scaling(service: &Service) -> Value {
    let reply = get(service, "/scaling").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()
}

async fn decisions(service: &Service) -> Vec<Value> {
    let reply = get(service, "/scaling/decisions").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["decisions"].as_array().expect("decisions").clone()
}

async fn alone(settings: &[(&str, &str)]) -> Service {
    let settings: Vec<_> = [("SYMBOLON_OPERATOR_TOKEN", TOKEN)].iter().chain(settings).copied().collect();
    Service::with(&settings).await
}

async fn read(service: &Service, times: usize) {
    for _ in 0..times {
        service.request(Method::GET, "/v1/session").send().await.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_fleet_that_is_offered_nothing_needs_nothing() {
    let service = alone(&[]).await;
    until("it has measured", async || get(&service, "/demand").await.status == 200).await;
    assert_eq!(get(&service, "/demand").await.json()["demand_replicas"], 0.0);
}

#[tokio::test]
async fn a_demand_that_is_not_known_yet_is_no_number() {
    let service = alone(&[]).await;
    read(&service, 5).await;
    until("it has measured that something is offered", async || {
        let reply = get(&service, "/demand").await;
        reply.status == 503 && reply.text.contains("class read")
    })
    .await;
    get(&service, "/demand").await.problem(503, "unavailable");
}

#[tokio::test]
async fn demand_is_known_once_enough_requests_were_seen() {
    let service = alone(&[("SYMBOLON_SCALING_CORES", "0.5")]).await;
    until("the demand is known", async || {
        read(&service, 100).await;
        get(&service, "/demand").await.status == 200 && scaling(&service).await["demand"].as_f64() > Some(0.0)
    })
    .await;
    let vertical = get(&service, "/scaling/vertical").await.json();
    assert_eq!((&vertical["status"], &vertical["analysis_period"]), (&json!("completed"), &json!("15 minutes")));
}

#[tokio::test]
async fn without_its_registry_nobody_says_a_number() {
    let mut redis = Redis::start();
    let service = alone(&[("SYMBOLON_REDIS_URL", &redis.url())]).await;
    until("it has measured", async || get(&service, "/demand").await.status == 200).await;
    redis.kill();
    until("it says that it can't be said", async || get(&service, "/demand").await.status == 503).await;
    redis.start_again();
    until("it can be said again", async || get(&service, "/demand").await.status == 200).await;
}

#[tokio::test]
async fn a_decision_says_why_and_from_which_numbers() {
    let service = alone(&[("SYMBOLON_SCALING_MIN", "3")]).await;
    until("something was decided", async || !decisions(&service).await.is_empty()).await;
    until("the demand was known to it", async || scaling(&service).await["last"]["numbers"]["demand"] == 0.0).await;
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
async fn a_rule_of_ones_own_asks_for_an_instance_and_then_there_is_a_pause() {
    let service =
        alone(&[("SYMBOLON_SCALING_POLICY", "threshold"), ("SYMBOLON_SCALING_RULES", "always=utilization>-1")]).await;
    until("the pause has begun", async || {
        decisions(&service).await.first().is_some_and(|it| it["outcome"] == "cooldown")
    })
    .await;
    let before = &decisions(&service).await[1];
    assert_eq!((&before["outcome"], &before["rule"]), (&json!("custom_rule_triggered"), &json!("always")));
    assert_eq!((&before["from"], &before["to"]), (&json!(1), &json!(2)));
}

async fn every_instance_tells_the_same_decisions(trio: Trio) {
    until("something was decided", async || !decisions(&trio.instances[0]).await.is_empty()).await;
    let told = decisions(&trio.instances[0]).await;
    for instance in &trio.instances {
        let of_instance = decisions(instance).await;
        assert!(told.iter().all(|decision| of_instance.contains(decision)), "{of_instance:?}");
    }
}

async fn another_one_decides_when_the_decider_dies_and_goes_on_where_it_ended(mut trio: Trio) {
    let decider = async |service: &Service| scaling(service).await["last"]["by"].as_str().map(str::to_owned);
    until("something was decided", async || decider(&trio.instances[0]).await.is_some()).await;
    let before = scaling(&trio.instances[0]).await["last"].clone();
    let dead = Trio::index_of(before["by"].as_str().expect("an id"));
    let dead_id = before["by"].clone();
    trio.instances[dead].kill().await;
    let left = trio.instances.iter().enumerate().find(|(index, _)| *index != dead).expect("two are left").1;
    until("another one decides", async || scaling(left).await["last"]["by"] != dead_id).await;
    let status = scaling(left).await;
    assert_eq!(status["decided_by"], status["last"]["by"], "{status}");
    let kept = decisions(left).await;
    assert!(kept.iter().any(|decision| decision["by"] == dead_id), "what was decided before is still told: {kept:?}");
}
