//! Changes and resets of passwords, and their hashes.

use reqwest::Method;
use serde_json::json;

use crate::support::{NEW_PASSWORD, PASSWORD, Request, Service, registration, run, sqlite};

#[tokio::test]
async fn a_changed_password_ends_all_other_sessions() {
    let service = Service::start().await;
    let (token, other) = (service.register_and_login("ada").await, service.login("ada").await);
    let change = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    assert_eq!(service.put("/v1/users/me/password", change).bearer(&token).send().await.status, 204);
    assert_eq!(service.session_status(&token).await, 200);
    assert_eq!(service.session_status(&other).await, 401);
    assert_eq!(service.try_login("ada", PASSWORD).await.status, 401);
    assert_eq!(service.try_login("ada", NEW_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn a_wrong_current_password_is_refused_and_throttled() {
    let service = Service::with(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "2/1h")]).await;
    let token = service.register_and_login("ada").await;
    let change = json!({"current_password": "wrong password", "new_password": NEW_PASSWORD});
    let attempt = || service.put("/v1/users/me/password", change.clone()).bearer(&token).send();
    for _ in 0..2 {
        assert_eq!(attempt().await.problem(403, "wrong-password"), ["current_password"]);
    }
    attempt().await.problem(429, "too-many-attempts");
    assert_eq!(service.session_status(&token).await, 200);
}

#[tokio::test]
async fn no_session_of_the_old_password_survives_a_concurrent_change() {
    let first = Service::with(&[("SYMBOLON_THROTTLE", "off")]).await;
    let second = first.another_with(&[("SYMBOLON_THROTTLE", "off")]).await;
    let mut token = first.register_and_login("ada").await;
    let mut passwords = [PASSWORD, NEW_PASSWORD];
    for _ in 0..20 {
        let change = json!({"current_password": passwords[0], "new_password": passwords[1]});
        let change = first.put("/v1/users/me/password", change).bearer(&token).send();
        let logins = (0..6).map(|_| second.try_login("ada", passwords[0]));
        let (changed, logins) = futures_util::future::join(change, futures_util::future::join_all(logins)).await;
        assert_eq!(changed.status, 204, "{}", changed.text);
        for login in logins.iter().filter(|login| login.status == 200) {
            let old = login.string("token");
            assert_eq!(first.session_status(&old).await, 401, "a session of the old password survives");
        }
        passwords.reverse();
        let login = first.try_login("ada", passwords[0]).await;
        token = login.string("token");
    }
}

/// Makes six logins on one instance during a request on another one, and asserts that none of them has a session afterwards.
async fn assert_no_session_survives(first: &Service, second: &Service, name: &str, end: Request) {
    let logins = (0..6).map(|_| second.try_login(name, PASSWORD));
    let (ended, logins) = futures_util::future::join(end.send(), futures_util::future::join_all(logins)).await;
    assert_eq!(ended.status, 204, "{}", ended.text);
    for login in logins.iter().filter(|login| login.status == 200) {
        let token = login.string("token");
        assert_eq!(first.session_status(&token).await, 401, "a session survives");
        assert_eq!(second.session_status(&token).await, 401, "a session survives");
    }
}

#[tokio::test]
async fn no_session_survives_a_concurrent_suspension() {
    let first = Service::with(&[("SYMBOLON_THROTTLE", "off")]).await;
    let second = first.another_with(&[("SYMBOLON_THROTTLE", "off")]).await;
    let user_id = first.register("ada").await;
    for _ in 0..20 {
        assert_no_session_survives(&first, &second, "ada", first.suspension(&user_id, true)).await;
        first.try_login("ada", PASSWORD).await.problem(401, "invalid-credentials");
        assert_eq!(first.suspension(&user_id, false).send().await.status, 204);
    }
}

#[tokio::test]
async fn no_session_survives_a_concurrent_deletion() {
    let first = Service::with(&[("SYMBOLON_THROTTLE", "off")]).await;
    let second = first.another_with(&[("SYMBOLON_THROTTLE", "off")]).await;
    for _ in 0..20 {
        let token = first.register_and_login("ada").await;
        assert_no_session_survives(&first, &second, "ada", first.delete("/v1/users/me").bearer(&token)).await;
        first.try_login("ada", PASSWORD).await.problem(401, "invalid-credentials");
    }
}

#[tokio::test]
async fn a_reset_token_sets_the_password_once_and_ends_all_sessions() {
    let service = Service::start().await;
    let user_id = service.register("ada").await;
    let token = service.login("ada").await;
    let issue = || service.operator(Method::POST, &format!("/users/{user_id}/password-reset")).send();
    let superseded = issue().await.string("token");
    let reset = issue().await.string("token");
    assert!(reset.starts_with("symr_"));
    let finish = |token: &str, password: &str| {
        service.post("/v1/password-reset", json!({"token": token, "new_password": password})).send()
    };
    assert_eq!(finish(&superseded, NEW_PASSWORD).await.problem(422, "invalid-reset-token"), ["token"]);
    assert_eq!(finish("symr_x", NEW_PASSWORD).await.problem(422, "invalid-reset-token"), ["token"]);
    assert_eq!(finish(&token, NEW_PASSWORD).await.problem(422, "invalid-reset-token"), ["token"]);
    assert_eq!(finish(&reset, "short").await.problem(422, "invalid-value"), ["new_password"]);
    assert_eq!(finish(&reset, NEW_PASSWORD).await.status, 204);
    assert_eq!(service.session_status(&token).await, 401);
    assert_eq!(service.try_login("ada", NEW_PASSWORD).await.status, 200);
    assert_eq!(finish(&reset, PASSWORD).await.problem(422, "invalid-reset-token"), ["token"]);
}

#[tokio::test]
async fn weak_passwords_are_refused() {
    let service = Service::start().await;
    for password in ["short", "ada-lovelace", "password1", &"x".repeat(257)] {
        let mut request = registration("Ada-Lovelace");
        request["password"] = json!(password);
        assert_eq!(service.post("/v1/users", request).send().await.problem(422, "invalid-value"), ["password"]);
    }
}

/// The password hashes on all shards.
async fn password_hashes(service: &Service) -> Vec<String> {
    let mut hashes = Vec::new();
    for shard in 0..3 {
        let mut shard = sqlite(&service.data().join(format!("db-node-{shard}.sqlite"))).await;
        let found = sqlx::query_scalar("SELECT password_hash FROM users").fetch_all(&mut shard).await;
        hashes.extend(found.expect("rows"));
    }
    hashes
}

#[tokio::test]
async fn a_hash_with_former_parameters_is_renewed_at_login() {
    let mut service = Service::start().await;
    let registered = service.post("/v1/users", registration("ada")).send().await;
    service.kill().await;
    let stronger = service.another_with(&[("SYMBOLON_ARGON2_MEMORY_KIB", "128")]).await;
    stronger.login("ada").await;
    let hashes = password_hashes(&stronger).await;
    assert!(matches!(&hashes[..], [hash] if hash.starts_with("$argon2id$v=19$m=128,")), "{hashes:?}");
    let session = stronger.get("/v1/users/me").bearer(&stronger.login("ada").await).send().await;
    assert_eq!(session.header("etag"), registered.header("etag"), "the version was raised");
}

/// One password, composed (NFC) and decomposed (NFD).
const COMPOSED: &str = "caf\u{e9} at the corner";
const DECOMPOSED: &str = "cafe\u{301} at the corner";

#[tokio::test]
async fn composed_and_decomposed_passwords_are_equal() {
    let service = Service::start().await;
    for (name, chosen, other) in [("ada", COMPOSED, DECOMPOSED), ("eve", DECOMPOSED, COMPOSED)] {
        let mut request = registration(name);
        request["password"] = json!(chosen);
        let register = || service.post("/v1/users", request.clone()).header("idempotency-key", "key").send();
        assert_eq!(register().await.status, 201);
        assert_eq!(register().await.status, 201, "the repeat was refused");
        for password in [chosen, other, chosen] {
            assert_eq!(service.try_login(name, password).await.status, 200, "{name}");
        }
        let token = service.try_login(name, other).await.string("token");
        let change = json!({"current_password": other, "new_password": NEW_PASSWORD});
        assert_eq!(service.put("/v1/users/me/password", change).bearer(&token).send().await.status, 204);
    }
}

#[tokio::test]
async fn a_hash_of_the_decomposed_form_is_accepted_and_replaced() {
    let service = Service::start().await;
    let hash = bcrypt::hash(DECOMPOSED, 4).expect("a hash");
    let user = json!({"login_name": "ada", "password_hash": hash, "profile": {"name": "N", "email": "n@example.com"}});
    let data = service.data().display().to_string();
    let environment = [("SYMBOLON_DATA_DIR", data.as_str())];
    let (code, _, err) = run(&["users", "import", "-"], &environment, user.to_string().as_bytes()).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        service.try_login("ada", COMPOSED).await.status,
        401,
        "the composed form opened a hash of the decomposed one"
    );
    assert_eq!(service.try_login("ada", DECOMPOSED).await.status, 200);
    assert_eq!(service.try_login("ada", COMPOSED).await.status, 200, "the login did not replace the hash");
}

#[tokio::test]
async fn a_decomposed_password_is_checked_and_charged_twice() {
    for name in ["ada", "unknown"] {
        let service = Service::with(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "5/1h")]).await;
        service.register("ada").await;
        let computed =
            async || service.operator_view("/stats").await["password_hashing"]["computed"].as_u64().expect("a number");
        let before = computed().await;
        for _ in 0..2 {
            service.try_login(name, DECOMPOSED).await.problem(401, "invalid-credentials");
        }
        assert_eq!(computed().await, before + 4);
        service.try_login(name, DECOMPOSED).await.problem(429, "too-many-attempts");
        service.try_login(name, COMPOSED).await.problem(401, "invalid-credentials");
        service.try_login(name, COMPOSED).await.problem(429, "too-many-attempts");
    }
}
