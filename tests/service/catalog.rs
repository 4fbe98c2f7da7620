//! The catalog, from which instances take the topology.

use serde_json::Value;

use crate::support::{Fleet, Service, registration, until};

/// The epoch that an instance is at.
async fn epoch(service: &Service) -> Value {
    service.operator_view("/partitions").await["epoch"].clone()
}

#[tokio::test]
async fn an_instance_started_without_its_catalog_becomes_ready_with_it() {
    let mut fleet = Fleet::start();
    let token = fleet.instance().await.register_and_login("ada").await;
    fleet.postgres[0].kill();
    let service = fleet.instance().await;
    assert_eq!(service.get("/v1/health/live").send().await.status, 200);
    let ready = service.get("/v1/health/ready").send().await;
    assert_eq!(ready.status, 503);
    let dependencies = ready.json()["dependencies"].clone();
    assert!(
        dependencies.as_array().expect("a list").iter().any(|one| one["name"] == "catalog" && one["required"] == true),
        "{dependencies}"
    );
    assert_eq!(service.session_status(&token).await, 200, "a session needs no shard");
    service.post("/v1/users", registration("eve")).send().await.problem(503, "unavailable");
    fleet.postgres[0].start_again();
    service.until_ready().await;
    until("users are registered", async || service.post("/v1/users", registration("eve")).send().await.status == 201)
        .await;
}

#[tokio::test]
async fn a_registration_at_a_former_epoch_is_retried_at_the_current_one() {
    let fleet = Fleet::start();
    let service = fleet.instance().await;
    service.register("ada").await;
    fleet.raise_epoch();
    service.register("eve").await;
    assert_eq!(epoch(&service).await, 2);
}

#[tokio::test]
async fn an_idle_instance_learns_of_a_new_topology() {
    let fleet = Fleet::start();
    let service = fleet.instance().await;
    assert_eq!(epoch(&service).await, 1);
    fleet.raise_epoch();
    until("the instance is at the new epoch", async || epoch(&service).await == 2).await;
}

#[tokio::test]
async fn a_redis_notification_has_the_catalog_read_at_once() {
    let fleet = Fleet::start();
    let service = fleet.instance_with(&[("SYMBOLON_TOPOLOGY_POLL", "1h")]).await;
    let channel = symbolon::shared_store::redis::TOPOLOGY_CHANNEL;
    until("the instance has subscribed", async || fleet.redis.command(&["pubsub", "numsub", channel]).ends_with('1'))
        .await;
    fleet.raise_epoch();
    fleet.redis.command(&["publish", channel, "changed"]);
    until("the instance is at the new epoch", async || epoch(&service).await == 2).await;
}

#[tokio::test]
async fn an_outage_of_the_catalog_does_not_affect_requests() {
    let mut fleet = Fleet::start_with_catalog();
    let service = fleet.instance().await;
    service.register("ada").await;
    fleet.catalog.as_mut().expect("a catalog").0.kill();
    let dependency = async || {
        let ready = service.get("/v1/health/ready").send().await;
        assert_eq!(ready.status, 200, "{}", ready.text);
        ready.json()["dependencies"][1].clone()
    };
    until("the instance notices the outage", async || dependency().await["up"] == false).await;
    assert_eq!(dependency().await["name"], "catalog");
    service.register("eve").await;
}
