//! Users: changes, access, deletion and export.

use serde_json::json;

use crate::support::{ABSENT_USER, PASSWORD, Service, registration};

#[tokio::test]
async fn a_user_changes_its_profile_and_login_name() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let before = service.get("/v1/users/me").bearer(&token).send().await.json();
    let patch = json!({"login_name": "Lovelace", "profile": {"name": "Ada King"}});
    let changed = service.patch("/v1/users/me", patch).bearer(&token).send().await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    let user = changed.json();
    assert!(user["version"].as_i64() > before["version"].as_i64(), "{user}");
    assert_eq!(changed.header("etag"), format!("\"{}\"", user["version"]));
    assert_eq!(user["login_name"], "lovelace");
    assert_eq!(user["profile"], json!({"name": "Ada King", "email": "ada@example.com"}));
    assert_eq!(service.get("/v1/session").bearer(&token).send().await.json()["login_name"], "lovelace");
    assert_eq!(service.try_login("ada", PASSWORD).await.status, 401);
    service.login("lovelace").await;
    service.register("ada").await;
}

#[tokio::test]
async fn a_taken_login_name_changes_nothing() {
    let service = Service::start().await;
    service.register("eve").await;
    let token = service.register_and_login("ada").await;
    let before = service.get("/v1/users/me").bearer(&token).send().await.json();
    let patch = json!({"login_name": "EVE", "profile": {"name": "Other"}});
    let reply = service.patch("/v1/users/me", patch).bearer(&token).send().await;
    assert_eq!(reply.problem(409, "login-name-taken"), ["login_name"]);
    assert_eq!(service.get("/v1/users/me").bearer(&token).send().await.json(), before);
}

#[tokio::test]
async fn one_of_several_concurrent_renames_to_a_name_succeeds() {
    let service = Service::start().await;
    let mut tokens = Vec::new();
    for racer in 0..8 {
        tokens.push(service.register_and_login(&format!("racer-{racer}")).await);
    }
    let races =
        tokens.iter().map(|token| service.patch("/v1/users/me", json!({"login_name": "prize"})).bearer(token).send());
    let replies = futures_util::future::join_all(races).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1, "{replies:?}");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        reply.assert_name_refused();
    }
    service.login("prize").await;
}

#[tokio::test]
async fn required_fields_cannot_be_removed() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    for (patch, field) in [
        (json!({"login_name": null}), "login_name"),
        (json!({"profile": null}), "profile"),
        (json!({"profile": {"email": null}}), "profile.email"),
    ] {
        let reply = service.patch("/v1/users/me", patch).bearer(&token).send().await;
        assert_eq!(reply.problem(422, "invalid-value"), [field]);
    }
}

#[tokio::test]
async fn a_user_reads_and_changes_only_itself() {
    let service = Service::start().await;
    let ada = service.register("ada").await;
    let eve = service.register_and_login("eve").await;
    for other in [&ada, ABSENT_USER] {
        let path = format!("/v1/users/{other}");
        service.get(&path).bearer(&eve).send().await.problem(403, "forbidden");
        service.get(&format!("{path}/preferences")).bearer(&eve).send().await.problem(403, "forbidden");
        service.get(&format!("{path}/export")).bearer(&eve).send().await.problem(403, "forbidden");
        service.patch(&path, json!({})).bearer(&eve).send().await.problem(403, "forbidden");
        service.patch(&format!("{path}/preferences"), json!({})).bearer(&eve).send().await.problem(403, "forbidden");
        service.delete(&path).bearer(&eve).send().await.problem(403, "forbidden");
    }
    assert_eq!(service.get("/v1/users/x").bearer(&eve).send().await.problem(400, "malformed-request"), ["user_id"]);
    service.get(&format!("/v1/users/{ada}")).send().await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_deletion_ends_the_sessions_and_frees_the_login_name() {
    let service = Service::start().await;
    let (token, other) = (service.register_and_login("ada").await, service.login("ada").await);
    assert_eq!(service.delete("/v1/users/me").bearer(&token).send().await.status, 204);
    assert_eq!(service.session_status(&token).await, 401);
    assert_eq!(service.session_status(&other).await, 401);
    assert_eq!(service.try_login("ada", PASSWORD).await.status, 401);
    let again = service.post("/v1/users", registration("ada")).send().await;
    assert_eq!(again.status, 201);
}

#[tokio::test]
async fn a_deletion_of_another_version_is_refused() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let reply = service.delete("/v1/users/me").bearer(&token).header("if-match", "\"2\"").send().await;
    reply.problem(412, "precondition-failed");
    assert_eq!(service.session_status(&token).await, 200);
}

#[tokio::test]
async fn a_personal_export_has_the_account_and_sessions_but_no_secret() {
    let service = Service::start().await;
    let (token, _) = (service.register_and_login("ada").await, service.login("ada").await);
    service.patch("/v1/users/me/preferences", json!({"theme": "dark"})).bearer(&token).send().await;
    let reply = service.get("/v1/users/me/export").bearer(&token).send().await;
    let export = reply.json();
    assert_eq!(export["user"]["preferences"], json!({"theme": "dark"}));
    assert_eq!(export["sessions"].as_array().expect("a list").len(), 2);
    assert!(!reply.text.contains("argon2") && !reply.text.contains(&token[20..]));
}
