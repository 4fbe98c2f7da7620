//! Registration of users.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{OPERATOR_TOKEN, PASSWORD, Service, TRUST_LOOPBACK, registration};

#[tokio::test]
async fn a_registration_returns_the_user_with_its_partition_and_version() {
    let service = Service::start().await;
    let mut request = registration("Ada");
    request["preferences"] = json!({"theme": "light"});
    let reply = service.post("/v1/users", request).send().await;
    assert_eq!(reply.status, 201);
    let user = reply.json();
    let version = user["version"].as_i64().expect("a version");
    let now = symbolon::clock::Timestamp::now().millis();
    assert!((now - 60_000..=now).contains(&version), "the version of a new row is not its time: {version}");
    assert_eq!(reply.header("etag"), format!("\"{version}\""));
    assert_eq!(reply.header("location"), format!("/v1/users/{}", user["user_id"].as_str().expect("an id")));
    assert_eq!(user["login_name"], "ada");
    assert_eq!(user["profile"], json!({"name": "Ada", "email": "ada@example.com"}));
    assert_eq!(user["preferences"], json!({"theme": "light"}));
    let partition = &user["partition"];
    let node = partition["node_id"].as_str().expect("a node");
    assert!(partition["partition_id"].as_str().expect("an id").starts_with(&format!("consistent_{node}_")));
    assert!(!reply.text.contains("argon2") && !reply.text.contains(PASSWORD));
}

#[tokio::test]
async fn a_login_name_is_taken_in_every_equivalent_form() {
    let service = Service::start().await;
    service.register("straße").await;
    for form in ["straße", "STRASSE", "ＳＴＲＡＳＳＥ"] {
        let reply = service.post("/v1/users", registration(form)).send().await;
        assert_eq!(reply.problem(409, "login-name-taken"), ["login_name"]);
    }
}

#[tokio::test]
async fn one_of_several_concurrent_registrations_of_a_name_succeeds() {
    let first = Service::start().await;
    let second = first.another().await;
    let racers = (0..50).map(|racer| {
        let service = if racer % 2 == 0 { &first } else { &second };
        service.post("/v1/users", registration("ada")).send()
    });
    let replies = join_all(racers).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 1, "{replies:?}");
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        reply.assert_name_refused();
    }
    first.login("ada").await;
}

#[tokio::test]
async fn a_registration_repeated_with_its_idempotency_key_returns_the_same_user() {
    let service = Service::start().await;
    let register =
        |name: &str, key: &str| service.post("/v1/users", registration(name)).header("idempotency-key", key).send();
    let first = register("ada", "key-1").await;
    let repeat = register("ada", "key-1").await;
    assert_eq!((repeat.status, &repeat.text), (first.status, &first.text));
    register("ada", "key-2").await.problem(409, "login-name-taken");
    service.post("/v1/users", registration("ada")).send().await.problem(409, "login-name-taken");
    let mut other = registration("ada");
    other["password"] = json!("another password");
    service.post("/v1/users", other).header("idempotency-key", "key-1").send().await.problem(409, "login-name-taken");
    for unfit in ["", "a b", "a\tb", "é", &"x".repeat(256)] {
        assert_eq!(register("eve", unfit).await.problem(400, "malformed-request"), ["Idempotency-Key"], "{unfit}");
    }
    let twice =
        service.post("/v1/users", registration("eve")).header("idempotency-key", "a").header("idempotency-key", "a");
    assert_eq!(twice.send().await.problem(400, "malformed-request"), ["Idempotency-Key"]);
}

#[tokio::test]
async fn concurrent_registrations_with_one_idempotency_key_return_the_same_user() {
    let first = Service::start().await;
    let second = first.another().await;
    let racers = (0..10).map(|racer| {
        let service = if racer % 2 == 0 { &first } else { &second };
        service.post("/v1/users", registration("ada")).header("idempotency-key", "same").send()
    });
    let replies = join_all(racers).await;
    for reply in &replies {
        assert_eq!((reply.status.as_u16(), &reply.text), (201, &replies[0].text));
    }
}

#[tokio::test]
async fn closed_registration_is_open_to_operators() {
    let service = Service::with(&[("SYMBOLON_REGISTRATION", "operator")]).await;
    service.post("/v1/users", registration("ada")).send().await.problem(403, "registration-closed");
    let reply = service.post("/v1/users", registration("ada")).bearer(OPERATOR_TOKEN).send().await;
    assert_eq!(reply.status, 201);
    let token = service.login("ada").await;
    service.post("/v1/users", registration("eve")).bearer(&token).send().await.problem(403, "registration-closed");
}

#[tokio::test]
async fn a_weak_password_is_refused_alike_for_taken_and_free_names() {
    let service = Service::start().await;
    service.register("ada").await;
    for password in ["password1", "short"] {
        let attempts = ["ada", "free"].map(async |name: &str| {
            let mut request = registration(name);
            request["password"] = json!(password);
            service.post("/v1/users", request).send().await
        });
        let replies = join_all(attempts).await;
        assert_eq!(replies[0].problem(422, "invalid-value"), ["password"]);
        assert_eq!((replies[0].status, &replies[0].text), (replies[1].status, &replies[1].text));
    }
}

/// How many passwords an instance has hashed.
async fn computed(service: &Service) -> u64 {
    let stats = service.operator_view("/stats").await;
    stats["password_hashing"]["computed"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_taken_name_costs_a_password_hash_like_a_free_one() {
    let service = Service::start().await;
    let before = computed(&service).await;
    service.register("ada").await;
    assert_eq!(computed(&service).await, before + 1);
    service.post("/v1/users", registration("ada")).send().await.problem(409, "login-name-taken");
    assert_eq!(computed(&service).await, before + 2);
}

#[tokio::test]
async fn registrations_are_throttled_by_address() {
    let settings = [("SYMBOLON_THROTTLE_REGISTRATIONS", "3/1h"), TRUST_LOOPBACK];
    let service = Service::with(&settings).await;
    let register = async |name: &str, password: &str, address: &str| {
        let mut request = registration(name);
        request["password"] = json!(password);
        service.post("/v1/users", request).header("x-forwarded-for", address).send().await
    };
    assert_eq!(register("ada", PASSWORD, "2001:db8::1").await.status, 201);
    register("ada", PASSWORD, "2001:db8::2").await.problem(409, "login-name-taken");
    register("eve", "password1", "2001:db8::3").await.problem(422, "invalid-value");
    for (name, password) in [("ada", PASSWORD), ("eve", "password1"), ("zoe", PASSWORD)] {
        let refused = register(name, password, "2001:db8::4").await;
        refused.problem(429, "too-many-attempts");
        assert!((1..=1200).contains(&refused.retry_after()), "{refused:?}");
    }
    assert_eq!(register("zoe", PASSWORD, "2001:db8:0:1::1").await.status, 201, "another network was throttled");
    let by_operator = service.post("/v1/users", registration("eve")).header("x-forwarded-for", "2001:db8::1");
    assert_eq!(by_operator.bearer(OPERATOR_TOKEN).send().await.status, 201, "an operator was throttled");
}

#[tokio::test]
async fn a_repeated_registration_of_a_suspended_user_is_refused() {
    let service = Service::start().await;
    let register = || service.post("/v1/users", registration("ada")).header("idempotency-key", "key").send();
    let user_id = register().await.string("user_id");
    assert_eq!(register().await.status, 201);
    assert_eq!(service.suspension(&user_id, true).send().await.status, 204);
    assert_eq!(register().await.problem(409, "login-name-taken"), ["login_name"]);
}

#[tokio::test]
async fn confusable_login_names_are_refused() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    for name in ["ada\u{2800}", "\u{430}da", "ada😀", "ᏣᎳᎩ"] {
        let reply = service.post("/v1/users", registration(name)).send().await;
        assert_eq!(reply.problem(422, "invalid-value"), ["login_name"], "{name}");
        let rename = service.patch("/v1/users/me", json!({"login_name": name})).bearer(&token).send().await;
        assert_eq!(rename.problem(422, "invalid-value"), ["login_name"], "{name}");
    }
    for name in ["иван", "山田たろう", "tanakaたろう", "josé+x@exämple.com"] {
        service.register(name).await;
    }
}
