//! What crashes leave of a login name's claim, and how it is used again.

use serde_json::json;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::harness::{PASSWORD, Service, registration};

/// Runs a statement on every shard, as nothing but a crash would leave things.
pub async fn on_every_shard(service: &Service, statement: &'static str) -> u64 {
    let mut changed = 0;
    for shard in 0..3 {
        let path = service.data().join(format!("db-node-{shard}.sqlite"));
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(std::time::Duration::from_secs(10));
        let mut connection = SqliteConnection::connect_with(&options).await.expect("the shard opens");
        changed += sqlx::query(statement).execute(&mut connection).await.expect("the statement runs").rows_affected();
    }
    changed
}

const AGE_CLAIMS: &str = "UPDATE login_names SET claimed_at = claimed_at - 61000, confirmed = 0";

#[tokio::test]
async fn a_claim_without_its_user_blocks_the_name_for_a_minute_only() {
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
async fn a_claim_from_before_the_clock_was_set_back_does_not_keep_its_name() {
    let service = Service::start().await;
    service.register("ada").await;
    assert_eq!(on_every_shard(&service, "DELETE FROM users").await, 1);
    on_every_shard(&service, "UPDATE login_names SET claimed_at = claimed_at + 3600000, confirmed = 0").await;
    service.register("ada").await;
    service.login("ada").await;
}

#[tokio::test]
async fn a_registration_whose_claim_was_taken_over_cannot_finish() {
    let service = Service::start().await;
    service.register("ada").await;
    on_every_shard(&service, "DELETE FROM users").await;
    on_every_shard(&service, AGE_CLAIMS).await;
    service.register("ada").await;
    // What the first registration left is a void row: its late insert would meet the primary key.
    assert_eq!(on_every_shard(&service, "UPDATE users SET version = version WHERE state = 'void'").await, 1);
    assert_eq!(on_every_shard(&service, "UPDATE users SET version = version WHERE state = 'live'").await, 1);
}

#[tokio::test]
async fn an_old_unconfirmed_claim_that_its_user_names_back_stays_its_own() {
    let service = Service::start().await;
    service.register("ada").await;
    on_every_shard(&service, AGE_CLAIMS).await;
    service.login("ada").await;
    service.post("/v1/users", registration("ada")).send().await.problem(409, "login-name-taken");
    service.login("ada").await;
}

#[tokio::test]
async fn a_former_name_that_was_not_released_is_free_again() {
    let service = Service::start().await;
    let token = service.member("ada").await;
    let version = async || service.get("/v1/users/me").bearer(&token).send().await.json()["version"].as_i64();
    let before = version().await;
    // The row of a rename that crashed before it released the former name.
    assert_eq!(on_every_shard(&service, "UPDATE users SET login_name = 'lovelace'").await, 1);
    assert_eq!(service.try_login("ada", PASSWORD).await.status, 401);
    on_every_shard(&service, AGE_CLAIMS).await;
    service.register("ada").await;
    service.login("ada").await;
    // The takeover raised the version, so that a rename back under the old claim would have failed.
    assert!(version().await > before, "{before:?}");
}

#[tokio::test]
async fn a_rename_that_crashed_after_its_claim_can_be_repeated() {
    let service = Service::start().await;
    let token = service.member("ada").await;
    let rename = || service.patch("/v1/users/me", json!({"login_name": "lovelace"})).bearer(&token).send();
    assert_eq!(rename().await.status, 200);
    on_every_shard(&service, "UPDATE users SET login_name = 'ada'").await;
    rename().await.problem(503, "login-name-pending");
    on_every_shard(&service, AGE_CLAIMS).await;
    assert_eq!(rename().await.status, 200);
    service.login("lovelace").await;
    assert_eq!(service.try_login("ada", PASSWORD).await.status, 401);
}
