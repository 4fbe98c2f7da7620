use reqwest::Method;
use serde_json::json;

use super::harness::{PASSWORD, Request, Service, registration};

const NEW: &str = "staple battery horse";

#[tokio::test]
async fn a_changed_password_ends_all_other_sessions() {
    let service = Service::start().await;
    let (token, other) = (service.member("ada").await, service.login("ada").await);
    let change = json!({"current_password": PASSWORD, "new_password": NEW});
    assert_eq!(service.put("/v1/users/me/password", change).bearer(&token).send().await.status, 204);
    assert_eq!(service.session_status(&token).await, 200);
    assert_eq!(service.session_status(&other).await, 401);
    assert_eq!(service.try_login("ada", PASSWORD).await.status, 401);
    assert_eq!(service.try_login("ada", NEW).await.status, 200);
}

#[tokio::test]
async fn a_wrong_current_password_changes_nothing_and_is_counted() {
    let service = Service::with(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "2/1h")]).await;
    let token = service.member("ada").await;
    let change = json!({"current_password": "wrong password", "new_password": NEW});
    let attempt = || service.put("/v1/users/me/password", change.clone()).bearer(&token).send();
    for _ in 0..2 {
        assert_eq!(attempt().await.problem(403, "wrong-password"), ["current_password"]);
    }
    attempt().await.problem(429, "too-many-attempts");
    assert_eq!(service.session_status(&token).await, 200);
}

#[tokio::test]
async fn no_login_with_the_old_password_survives_a_racing_change() {
    let first = Service::with(&[("SYMBOLON_THROTTLE", "off")]).await;
    let second = first.another_with(&[("SYMBOLON_THROTTLE", "off")]).await;
    let mut token = first.member("ada").await;
    let mut passwords = [PASSWORD, NEW];
    for _ in 0..20 {
        let change = json!({"current_password": passwords[0], "new_password": passwords[1]});
        let change = first.put("/v1/users/me/password", change).bearer(&token).send();
        let logins = (0..6).map(|_| second.try_login("ada", passwords[0]));
        let (changed, logins) = futures_util::future::join(change, futures_util::future::join_all(logins)).await;
        assert_eq!(changed.status, 204, "{}", changed.text);
        for login in logins.iter().filter(|login| login.status == 200) {
            let old = login.json()["token"].as_str().expect("a token").to_owned();
            assert_eq!(first.session_status(&old).await, 401, "a session made with the old password lives");
        }
        passwords.reverse();
        let login = first.try_login("ada", passwords[0]).await;
        token = login.json()["token"].as_str().expect("a token").to_owned();
    }
}

/// Six logins on one instance while another one does something after which none of them may have a session.
async fn race(first: &Service, second: &Service, name: &str, end: Request) {
    let logins = (0..6).map(|_| second.try_login(name, PASSWORD));
    let (ended, logins) = futures_util::future::join(end.send(), futures_util::future::join_all(logins)).await;
    assert_eq!(ended.status, 204, "{}", ended.text);
    for login in logins.iter().filter(|login| login.status == 200) {
        let token = login.json()["token"].as_str().expect("a token").to_owned();
        assert_eq!(first.session_status(&token).await, 401, "a session of before lives");
        assert_eq!(second.session_status(&token).await, 401, "a session of before lives");
    }
}

#[tokio::test]
async fn no_login_survives_a_racing_suspension() {
    let first = Service::with(&[("SYMBOLON_THROTTLE", "off")]).await;
    let second = first.another_with(&[("SYMBOLON_THROTTLE", "off")]).await;
    let path = format!("/users/{}/suspended", first.register("ada").await);
    let suspended = |on: bool| first.operator(Method::PUT, &path).json(&json!({"suspended": on}));
    for _ in 0..20 {
        race(&first, &second, "ada", suspended(true)).await;
        first.try_login("ada", PASSWORD).await.problem(401, "invalid-credentials");
        assert_eq!(suspended(false).send().await.status, 204);
    }
}

#[tokio::test]
async fn no_login_survives_a_racing_deletion() {
    let first = Service::with(&[("SYMBOLON_THROTTLE", "off")]).await;
    let second = first.another_with(&[("SYMBOLON_THROTTLE", "off")]).await;
    for _ in 0..20 {
        let token = first.member("ada").await;
        race(&first, &second, "ada", first.delete("/v1/users/me").bearer(&token)).await;
        first.try_login("ada", PASSWORD).await.problem(401, "invalid-credentials");
    }
}

#[tokio::test]
async fn a_reset_token_sets_the_password_once_and_ends_all_sessions() {
    let service = Service::start().await;
    let user_id = service.register("ada").await;
    let token = service.login("ada").await;
    let issue = || service.operator(Method::POST, &format!("/users/{user_id}/password-reset")).send();
    let superseded = issue().await.json()["token"].as_str().expect("a token").to_owned();
    let reset = issue().await.json()["token"].as_str().expect("a token").to_owned();
    assert!(reset.starts_with("symr_"));
    let finish = |token: &str, password: &str| {
        service.post("/v1/password-reset", json!({"token": token, "new_password": password})).send()
    };
    assert_eq!(finish(&superseded, NEW).await.problem(422, "invalid-reset-token"), ["token"]);
    assert_eq!(finish("symr_x", NEW).await.problem(422, "invalid-reset-token"), ["token"]);
    assert_eq!(finish(&token, NEW).await.problem(422, "invalid-reset-token"), ["token"]);
    assert_eq!(finish(&reset, "short").await.problem(422, "invalid-value"), ["new_password"]);
    assert_eq!(finish(&reset, NEW).await.status, 204);
    assert_eq!(service.session_status(&token).await, 401);
    assert_eq!(service.try_login("ada", NEW).await.status, 200);
    assert_eq!(finish(&reset, PASSWORD).await.problem(422, "invalid-reset-token"), ["token"]);
}

#[tokio::test]
async fn passwords_that_are_too_short_too_long_the_login_name_or_guessed_first_are_refused() {
    let service = Service::start().await;
    for password in ["short", "ada-lovelace", "password1", &"x".repeat(257)] {
        let mut request = registration("Ada-Lovelace");
        request["password"] = json!(password);
        assert_eq!(service.post("/v1/users", request).send().await.problem(422, "invalid-value"), ["password"]);
    }
}

#[tokio::test]
async fn a_hash_of_other_parameters_is_renewed_at_login() {
    let mut service = Service::start().await;
    let registered = service.post("/v1/users", registration("ada")).send().await;
    service.kill().await;
    let stronger = service.another_with(&[("SYMBOLON_HASH_MEMORY_KIB", "128")]).await;
    stronger.login("ada").await;
    let mut hashes = String::new();
    for shard in 0..3 {
        let path = stronger.data().join(format!("db-node-{shard}.sqlite"));
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).read_only(true);
        let mut connection =
            <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await.expect("the shard opens");
        let found: Vec<String> =
            sqlx::query_scalar("SELECT password_hash FROM users").fetch_all(&mut connection).await.expect("rows");
        hashes.extend(found);
    }
    assert!(hashes.starts_with("$argon2id$v=19$m=128,"), "{hashes}");
    let session = stronger.get("/v1/users/me").bearer(&stronger.login("ada").await).send().await;
    assert_eq!(session.header("etag"), registered.header("etag"), "clients see no change");
}

/// One password, composed (NFC) and decomposed (NFD).
const COMPOSED: &str = "caf\u{e9} at the corner";
const DECOMPOSED: &str = "cafe\u{301} at the corner";

#[tokio::test]
async fn a_password_is_the_same_however_its_letters_are_composed() {
    let service = Service::start().await;
    for (name, chosen, other) in [("ada", COMPOSED, DECOMPOSED), ("eve", DECOMPOSED, COMPOSED)] {
        let mut request = super::harness::registration(name);
        request["password"] = json!(chosen);
        let register = || service.post("/v1/users", request.clone()).header("idempotency-key", "key").send();
        assert_eq!(register().await.status, 201);
        assert_eq!(register().await.status, 201, "its check tries both forms");
        for password in [chosen, other, chosen] {
            assert_eq!(service.try_login(name, password).await.status, 200, "{name}");
        }
        let token = service.try_login(name, other).await.json()["token"].as_str().expect("a token").to_owned();
        let change = json!({"current_password": other, "new_password": NEW});
        assert_eq!(service.put("/v1/users/me/password", change).bearer(&token).send().await.status, 204);
    }
}

#[tokio::test]
async fn a_hash_of_the_decomposed_form_is_recognised_and_replaced() {
    let service = Service::start().await;
    let hash = bcrypt::hash(DECOMPOSED, 4).expect("a hash");
    let user = json!({"login_name": "ada", "password_hash": hash, "profile": {"name": "N", "email": "n@example.com"}});
    let data = service.data().display().to_string();
    let environment = [("SYMBOLON_DATA", data.as_str())];
    let (code, _, err) =
        super::harness::run(&["users", "import", "-"], &environment, user.to_string().as_bytes()).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(service.try_login("ada", COMPOSED).await.status, 401, "the hash is of the other form");
    assert_eq!(service.try_login("ada", DECOMPOSED).await.status, 200);
    assert_eq!(service.try_login("ada", COMPOSED).await.status, 200, "the login has replaced the hash");
}

#[tokio::test]
async fn a_password_in_another_form_is_checked_and_charged_twice_whoever_has_the_name() {
    for name in ["ada", "nobody"] {
        let service = Service::with(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "5/1h")]).await;
        service.register("ada").await;
        let computed = async || {
            let stats = service.operator(Method::GET, "/stats").send().await.json();
            stats["password_hashing"]["computed"].as_u64().expect("a number")
        };
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
