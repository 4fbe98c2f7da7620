//! The registry of instances, the balancer's view of them, and the leader.

use reqwest::Method;
use serde_json::json;
use symbolon::{
    clock::Timestamp,
    fleet::{
        instance_of,
        leader::{LEASE, LOCK},
    },
};

use crate::support::{
    LogFile, Service, holds_for,
    servers::{free_port, redis::Redis},
    trio::{Trio, balancer, node, on_both_stores, settings},
    until,
};

on_both_stores! {
    every_instance_lists_all_three
    a_killed_leader_is_replaced_under_a_higher_fence
    a_draining_leader_gives_up_the_lead_and_leaves
}

async fn every_instance_lists_all_three(trio: Trio) {
    for instance in &trio.instances {
        let stats = balancer(instance).await;
        assert_eq!((&stats["total_nodes"], &stats["healthy_nodes"]), (&json!(3), &json!(3)));
        assert_eq!((&stats["stale"], &stats["algorithm"]), (&json!(false), &json!(null)));
        assert!(stats["as_of"].is_string());
        for (other, id) in trio.instances.iter().zip(["a", "b", "c"]) {
            let shown = node(&stats, id);
            assert_eq!(shown["url"], other.url);
            assert_eq!((&shown["added"], &shown["removed"]), (&json!(false), &json!(false)));
            assert!(shown["version"].is_string() && shown["last_health_check"].is_string());
        }
    }
}

async fn a_killed_leader_is_replaced_under_a_higher_fence(mut trio: Trio) {
    let store = trio.store().await;
    let held = async || {
        let held = store.holder(LOCK).await.expect("an answer");
        held.map(|(holder, fence)| (instance_of(&holder).to_owned(), fence))
    };
    let (leader, fence) = held().await.expect("a leader");
    holds_for(LEASE, "the lead stays where it is", async || {
        let mut stays = true;
        for instance in &trio.instances {
            stays &= balancer(instance).await["leader"] == leader;
        }
        stays
    })
    .await;
    assert_eq!(held().await, Some((leader.clone(), fence)));
    trio.instances.remove(Trio::index_of(&leader)).kill().await;
    let lost_at = Timestamp::now();
    until("another instance leads", async || held().await.is_some_and(|(holder, _)| holder != leader)).await;
    println!("another instance led after {:?}", Timestamp::now().since(lost_at));
    let (next, later) = held().await.expect("a leader");
    assert!(later > fence, "the fence is {later} after {fence}");
    for instance in &trio.instances {
        assert_eq!(balancer(instance).await["leader"], next);
    }
}

async fn a_draining_leader_gives_up_the_lead_and_leaves(mut trio: Trio) {
    let leader = balancer(&trio.instances[0]).await["leader"].as_str().expect("a leader").to_owned();
    let mut leaving = trio.instances.remove(Trio::index_of(&leader));
    leaving.request_stop();
    until("the others show it draining, and another leader", async || {
        let stats = balancer(&trio.instances[0]).await;
        let shown = node(&stats, &leader);
        shown["draining"] == true
            && shown["is_healthy"] == false
            && stats["leader"] != leader
            && stats["leader"] != json!(null)
    })
    .await;
    assert!(leaving.wait_for_exit().await, "the exit code is not 0");
    let stats = balancer(&trio.instances[0]).await;
    assert_eq!((&stats["total_nodes"], node(&stats, &leader)), (&json!(2), json!(null)));
}

#[tokio::test]
async fn the_last_known_fleet_is_served_while_the_registry_is_down() {
    let mut trio = Trio::start(Some(Redis::start())).await;
    let choice = json!({"algorithm": "least_connections"});
    assert_eq!(trio.instances[0].operator(Method::PUT, "/balancer/algorithm").json(&choice).send().await.status, 204);
    // A request reads the choice, and has the instance remember it.
    assert_eq!(balancer(&trio.instances[1]).await["algorithm"], "least_connections");
    trio.redis.as_mut().expect("Redis").kill();
    for _ in 0..20 {
        let stats = balancer(&trio.instances[1]).await;
        assert_eq!((&stats["stale"], &stats["total_nodes"], &stats["leader"]), (&json!(true), &json!(3), &json!(null)));
        assert_eq!(stats["algorithm"], "least_connections");
        assert!(stats["as_of"].is_string() && node(&stats, "a")["is_healthy"] == true);
        let refused = trio.instances[1].operator(Method::DELETE, "/balancer/nodes/a").send().await;
        refused.problem(503, "unavailable");
    }
    trio.redis.as_mut().expect("Redis").start_again();
    until("the fleet is known again", async || {
        let stats = balancer(&trio.instances[1]).await;
        stats["stale"] == false && stats["total_nodes"] == 3 && stats["leader"].is_string()
    })
    .await;
}

#[tokio::test]
async fn an_instance_without_a_registry_lists_itself() {
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    let instance = Service::with(&settings("a", &nowhere)).await;
    let stats = balancer(&instance).await;
    assert_eq!((&stats["stale"], &stats["as_of"], &stats["total_nodes"]), (&json!(true), &json!(null), &json!(1)));
    assert_eq!(node(&stats, "a")["url"], instance.url);
}

#[tokio::test]
async fn two_processes_with_one_instance_id_warn_and_only_one_leads() {
    let redis = Redis::start();
    let url = redis.url();
    let logs = [LogFile::new(), LogFile::new()];
    let settings = settings("twin", &url);
    let twins = [Service::logging_to(&logs[0], &settings).await, Service::logging_to(&logs[1], &settings).await];
    let warns = |log: &LogFile| log.text().contains("another process has the same");
    until("both have warned", async || logs.iter().all(warns)).await;
    let leaders = async || twins[0].metric("symbolon_leader").await + twins[1].metric("symbolon_leader").await;
    holds_for(LEASE, "at most one leads", async || leaders().await < 2.0).await;
    until("one leads", async || leaders().await == 1.0).await;
}
