//! The tuner: its knobs, rules, history and switch.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Reply, Service,
    trio::{Trio, on_both_stores},
    until,
};

on_both_stores! {
    the_tuner_is_switched_for_the_whole_fleet
}

/// Rules whose limits are always exceeded.
const ALWAYS: &str = "memory: memory_percent > 0.01 -> hashing_memory hashing_concurrency, \
                      disk: disk_usage_percent > 0.01 -> reap_interval compaction_interval cache_size";

async fn tuned(rules: &str) -> Service {
    let service = Service::with(&[
        ("SYMBOLON_HASH_THREADS", "4"),
        ("SYMBOLON_TUNER_RULES", rules),
        ("SYMBOLON_MONITOR_INTERVAL", "1s"),
    ])
    .await;
    until("there is a measurement", async || service.operator_view("/resources").await["current"].is_object()).await;
    service
}

async fn tuning(service: &Service) -> Value {
    service.operator_view("/tuning").await
}

async fn cycle(service: &Service) -> Value {
    let reply = service.operator(Method::POST, "/tuning/cycle").send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()
}

async fn switch(service: &Service, body: Value) -> Reply {
    service.operator(Method::PUT, "/tuning/enabled").json(&body).send().await
}

fn knob(tuning: &Value, name: &str) -> Value {
    let knobs = tuning["knobs"].as_array().expect("knobs");
    knobs.iter().find(|knob| knob["name"] == name).unwrap_or_else(|| panic!("{name}: {tuning}")).clone()
}

#[tokio::test]
async fn knobs_are_shown_with_their_bounds_and_rules_with_their_limits() {
    let tuning = tuning(&tuned("").await).await;
    assert_eq!((&tuning["tuning_enabled"], &tuning["interval_seconds"]), (&json!(true), &json!(60)));
    let expected = json!({
        "name": "hashing_memory", "unit": "bytes", "value": 4 * 65_536, "normal": 4 * 65_536,
        "min": 65_536, "max": 4 * 65_536,
    });
    assert_eq!(knob(&tuning, "hashing_memory"), expected);
    let rules: Vec<_> = tuning["rules"].as_array().expect("rules").iter().map(|rule| &rule["limit"]).collect();
    assert_eq!(rules, [&json!(80.0), &json!(85.0), &json!(90.0)]);
    assert_eq!(tuning["stats"]["rules_count"], 3);
}

#[tokio::test]
async fn a_tuning_cycle_changes_knobs_and_applies_them() {
    let service = tuned(ALWAYS).await;
    let report = cycle(&service).await;
    assert_eq!((&report["status"], &report["actions_taken"]), (&json!("completed"), &json!(5)), "{report}");
    let tuning = tuning(&service).await;
    for (name, value) in [
        ("hashing_concurrency", 3),
        ("hashing_memory", 3 * 65_536),
        ("cache_size", 1000),
        ("reap_interval", 30),
        ("compaction_interval", 600),
    ] {
        assert_eq!(knob(&tuning, name)["value"], value, "{name}");
    }
    until("hashing has the new limit", async || {
        service.operator_view("/stats").await["password_hashing"]["threads"] == 3
    })
    .await;
    let history = &tuning["history"][0];
    let actions = history["actions"].as_array().expect("actions");
    let action = actions.iter().find(|action| action["knob"] == "hashing_memory").expect("an action");
    assert_eq!((&action["rule"], &action["direction"]), (&json!("memory"), &json!("relieve")));
    assert_eq!((&action["before"], &action["after"]), (&json!(4 * 65_536), &json!(3 * 65_536)));
    assert_eq!(action["effect"]["before"], history["metrics"]["memory_percent"]);
    assert_eq!(action["effect"]["after"], json!(null));
}

#[tokio::test]
async fn the_effect_of_a_change_is_shown_after_the_next_cycle() {
    let service = tuned(ALWAYS).await;
    assert_eq!(cycle(&service).await["status"], "completed");
    until("there is a new measurement", async || cycle(&service).await["status"] == "completed").await;
    let history = tuning(&service).await["history"].clone();
    let actions = history[1]["actions"].as_array().expect("actions");
    let effect = &actions.iter().find(|action| action["knob"] == "hashing_memory").expect("an action")["effect"];
    assert_eq!(effect["after"], history[0]["metrics"]["memory_percent"]);
    assert!(effect["change"].is_number());
}

#[tokio::test]
async fn disabling_the_tuner_resets_all_knobs() {
    let service = tuned(ALWAYS).await;
    cycle(&service).await;
    assert_eq!(switch(&service, json!({"enabled": false})).await.status, 204);
    let off = tuning(&service).await;
    assert_eq!((&off["tuning_enabled"], &off["stats"]["tuning_enabled"]), (&json!(false), &json!(false)));
    let knobs = off["knobs"].as_array().expect("knobs");
    assert!(knobs.len() >= 5, "{off}");
    for knob in knobs {
        assert_eq!(knob["value"], knob["normal"], "{knob}");
    }
    assert_eq!(off["history"][0]["actions"][0]["direction"], "reset");
    let expected = json!({"status": "disabled", "actions_taken": 0, "actions": []});
    assert_eq!(cycle(&service).await, expected);
}

#[tokio::test]
async fn the_tuner_switch_outlives_the_instance() {
    let service = tuned("").await;
    switch(&service, json!({"enabled": false})).await;
    let later = service.another().await;
    until("the instance knows the switch", async || tuning(&later).await["tuning_enabled"] == false).await;
}

async fn the_tuner_is_switched_for_the_whole_fleet(trio: Trio) {
    for enabled in [false, true] {
        assert_eq!(switch(&trio.instances[0], json!({ "enabled": enabled })).await.status, 204);
        assert_eq!(tuning(&trio.instances[0]).await["tuning_enabled"], enabled);
        for instance in &trio.instances {
            until("every instance knows the switch", async || tuning(instance).await["tuning_enabled"] == enabled)
                .await;
        }
    }
}

#[tokio::test]
async fn invalid_tuner_requests_are_refused() {
    let service = Service::start().await;
    switch(&service, json!({})).await.problem(400, "malformed-request");
    switch(&service, json!({"enabled": "off"})).await.problem(400, "malformed-request");
    switch(&service, json!({"enabled": true, "for": "ever"})).await.problem(400, "malformed-request");
    for path in ["/tuning?cycles=0", "/tuning?cycles=1001"] {
        let reply = service.operator(Method::GET, path).send().await;
        assert_eq!(reply.problem(422, "invalid-value"), ["cycles"], "{path}");
    }
}

#[tokio::test]
async fn the_tuner_needs_the_operator_token() {
    let service = Service::start().await;
    for (method, path) in [
        (Method::GET, "/v1/operator/tuning"),
        (Method::PUT, "/v1/operator/tuning/enabled"),
        (Method::POST, "/v1/operator/tuning/cycle"),
    ] {
        service.request(method, path).send().await.problem(401, "operator-only");
    }
}
