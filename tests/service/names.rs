//! Claims of login names that crashes leave behind.

use serde_json::json;

use crate::support::{PASSWORD, Service, on_every_shard, registration};

/// Makes every claim unconfirmed, and so old that it can be taken over.
const AGE_CLAIMS: &str = "UPDATE login_names SET claimed_at = claimed_at - 61000, confirmed = 0";

#[tokio::test]
async fn a_claim_without_a_user_blocks_its_name_for_a_minute() {
    let service = Service::start().await;
    service.register("ada").await;
    assert_eq!(on_every_shard(&service, "DELETE FROM users").await, 1);
    service.post("/v1/users", registration("ada")).send().await.problem(503, "login-name-pending");
    assert_eq!(service.try_login("ada", PASSWORD).await.status, 401);
    on_every_shard(&service, AGE_CLAIMS).await;
    service.register("ada").await;
    service.login("ada").await;
}

#[tokio::test]
async fn a_claim_with_a_time_in_the_future_does_not_block_its_name() {
    let service = Service::start().await;
    service.register("ada").await;
    assert_eq!(on_every_shard(&service, "DELETE FROM users").await, 1);
    on_every_shard(&service, "UPDATE login_names SET claimed_at = claimed_at + 3600000, confirmed = 0").await;
    service.register("ada").await;
    service.login("ada").await;
}

#[tokio::test]
async fn a_takeover_voids_the_row_of_the_former_registration() {
    let service = Service::start().await;
    service.register("ada").await;
    on_every_shard(&service, "DELETE FROM users").await;
    on_every_shard(&service, AGE_CLAIMS).await;
    service.register("ada").await;
    // A late insert of the first registration would conflict with the void row.
    assert_eq!(on_every_shard(&service, "UPDATE users SET version = version WHERE state = 'void'").await, 1);
    assert_eq!(on_every_shard(&service, "UPDATE users SET version = version WHERE state = 'live'").await, 1);
}

#[tokio::test]
async fn an_unconfirmed_claim_of_an_existing_user_is_not_taken_over() {
    let service = Service::start().await;
    service.register("ada").await;
    on_every_shard(&service, AGE_CLAIMS).await;
    service.login("ada").await;
    service.post("/v1/users", registration("ada")).send().await.problem(409, "login-name-taken");
    service.login("ada").await;
}

#[tokio::test]
async fn a_former_name_that_was_not_released_can_be_taken_over() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let version = async || service.get("/v1/users/me").bearer(&token).send().await.json()["version"].as_i64();
    let before = version().await;
    // The row of a rename that crashed before it released the former name.
    assert_eq!(on_every_shard(&service, "UPDATE users SET login_name = 'lovelace'").await, 1);
    assert_eq!(service.try_login("ada", PASSWORD).await.status, 401);
    on_every_shard(&service, AGE_CLAIMS).await;
    service.register("ada").await;
    service.login("ada").await;
    // With the raised version a rename back under the old claim fails.
    assert!(version().await > before, "{before:?}");
}

#[tokio::test]
async fn a_rename_that_crashed_after_its_claim_can_be_repeated() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let rename = || service.patch("/v1/users/me", json!({"login_name": "lovelace"})).bearer(&token).send();
    assert_eq!(rename().await.status, 200);
    on_every_shard(&service, "UPDATE users SET login_name = 'ada'").await;
    rename().await.problem(503, "login-name-pending");
    on_every_shard(&service, AGE_CLAIMS).await;
    assert_eq!(rename().await.status, 200);
    service.login("lovelace").await;
    assert_eq!(service.try_login("ada", PASSWORD).await.status, 401);
}
