//! The topology as instances take it from the catalog.

use serde_json::Value;

use super::{
    harness::{Service, registration, until},
    real_stores::{Fleet, TOKEN},
};

async fn epoch(service: &Service) -> Value {
    service.get("/v1/operator/partitions").bearer(TOKEN).send().await.json()["epoch"].clone()
}

#[tokio::test]
async fn an_instance_that_starts_without_the_catalog_serves_once_it_is_there() {
    let mut fleet = Fleet::start();
    let token = fleet.instance().await.member("ada").await;
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
    until("it is ready", async || service.get("/v1/health/ready").send().await.status == 200).await;
    until("users are registered", async || service.post("/v1/users", registration("eve")).send().await.status == 201)
        .await;
}

#[tokio::test]
async fn a_registration_under_a_passed_epoch_is_made_under_the_next_one() {
    let fleet = Fleet::start();
    let service = fleet.instance().await;
    service.register("ada").await;
    fleet.raise_epoch();
    service.register("eve").await;
    assert_eq!(epoch(&service).await, 2);
}

#[tokio::test]
async fn a_new_topology_is_found_by_whoever_has_nothing_to_insert() {
    let fleet = Fleet::start();
    let service = fleet.instance().await;
    assert_eq!(epoch(&service).await, 1);
    fleet.raise_epoch();
    until("the new epoch is known", async || epoch(&service).await == 2).await;
}

#[tokio::test]
async fn a_hint_over_redis_has_the_catalog_read_at_once() {
    let fleet = Fleet::start();
    let service = fleet.instance_with(&[("SYMBOLON_TOPOLOGY_POLL", "1h")]).await;
    let channel = symbolon::shared_store::redis::TOPOLOGY_CHANNEL;
    until("it listens", async || fleet.redis.command(&["pubsub", "numsub", channel]).ends_with('1')).await;
    fleet.raise_epoch();
    fleet.redis.command(&["publish", channel, "look"]);
    until("the new epoch is known", async || epoch(&service).await == 2).await;
}

#[tokio::test]
async fn a_catalog_that_dies_later_costs_nothing_but_its_own_shard() {
    let mut fleet = Fleet::start_with_catalog();
    let service = fleet.instance().await;
    service.register("ada").await;
    fleet.catalog.as_mut().expect("a catalog").0.kill();
    let dependency = async || {
        let ready = service.get("/v1/health/ready").send().await;
        assert_eq!(ready.status, 200, "{}", ready.text);
        ready.json()["dependencies"][1].clone()
    };
    until("its end is noticed", async || dependency().await["up"] == false).await;
    assert_eq!(dependency().await["name"], "catalog");
    service.register("eve").await;
}
