//! Problems of requests to an instance.

use reqwest::Method;
use serde_json::json;

use super::{assert_snapshot, assert_snapshot_on};
use crate::support::{Connection, NEW_PASSWORD, PASSWORD, Service, registration};

#[tokio::test]
async fn problems_of_invalid_requests() {
    let service = Service::with(&[("SYMBOLON_BODY_TIMEOUT", "300ms")]).await;
    let malformed = service.request(Method::POST, "/v1/users").raw("application/json", r#"{"login_name": 7}"#);
    assert_snapshot("malformed-request", &malformed.send().await);
    let mut invalid = registration("ada");
    invalid["profile"]["email"] = json!("nowhere");
    assert_snapshot("invalid-value", &service.post("/v1/users", invalid).send().await);
    let mut large = registration("ada");
    large["preferences"] = json!({"a": "x".repeat(70_000)});
    assert_snapshot("payload-too-large", &service.post("/v1/users", large).send().await);
    let text = service.request(Method::POST, "/v1/users").raw("text/plain", "ada");
    assert_snapshot("unsupported-media-type", &text.send().await);
    assert_snapshot("not-found", &service.get("/v1/unknown").send().await);
    assert_snapshot("method-not-allowed", &service.get("/v1/login").send().await);
    let mut client = Connection::to(&service).await;
    client
        .send("POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{")
        .await;
    assert_snapshot_on(&mut client, "request-timeout").await;
}

#[tokio::test]
async fn problems_of_authentication_and_permission() {
    let origin = "https://login.example.com";
    let service = Service::with(&[("SYMBOLON_PUBLIC_ORIGIN", origin)]).await;
    let (other, token) = (service.register("eve").await, service.register_and_login("ada").await);
    assert_snapshot("unauthenticated", &service.get("/v1/session").send().await);
    assert_snapshot("operator-only", &service.get("/v1/operator/stats").send().await);
    assert_snapshot("invalid-credentials", &service.try_login("ada", "a wrong password").await);
    assert_snapshot("forbidden", &service.get(&format!("/v1/users/{other}")).bearer(&token).send().await);
    let change = json!({"current_password": "a wrong password", "new_password": NEW_PASSWORD});
    assert_snapshot("wrong-password", &service.put("/v1/users/me/password", change).bearer(&token).send().await);
    let login = service.post("/v1/login", json!({"login_name": "ada", "password": PASSWORD, "cookie": true}));
    assert_snapshot("cross-site", &login.header("origin", "https://other.example.com").send().await);
    let closed = Service::with(&[("SYMBOLON_REGISTRATION", "operator")]).await;
    assert_snapshot("registration-closed", &closed.post("/v1/users", registration("ada")).send().await);
}

#[tokio::test]
async fn problems_of_conflicts_and_limits() {
    let service = Service::with(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "1/1h")]).await;
    let user_id = service.register("ada").await;
    let token = service.login("ada").await;
    assert_snapshot("login-name-taken", &service.post("/v1/users", registration("ada")).send().await);
    let deletion = service.delete("/v1/users/me").bearer(&token).header("if-match", "\"7\"");
    assert_snapshot("precondition-failed", &deletion.send().await);
    let reset = json!({"token": "symr_unknown", "new_password": NEW_PASSWORD});
    assert_snapshot("invalid-reset-token", &service.post("/v1/password-reset", reset).send().await);
    service.try_login("ada", "a wrong password").await;
    assert_snapshot("too-many-attempts", &service.try_login("ada", PASSWORD).await);
    assert_eq!(service.suspension(&user_id, true).send().await.status, 204);
    let issue = service.operator(Method::POST, &format!("/users/{user_id}/sessions")).json(&json!({}));
    assert_snapshot("suspended", &issue.send().await);
}
