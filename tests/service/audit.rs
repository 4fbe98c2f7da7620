//! Audit events in the log.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{LogFile, NEW_PASSWORD, OPERATOR_TOKEN, PASSWORD, Service, TRUST_LOOPBACK, registration};

/// Runs `work` on an instance; returns the audit events that it logs.
async fn events(settings: &[(&str, &str)], work: impl AsyncFnOnce(&Service)) -> Vec<Value> {
    let log = LogFile::new();
    let settings: Vec<(&str, &str)> =
        [("SYMBOLON_LOG_FORMAT", "json")].into_iter().chain(settings.iter().copied()).collect();
    let mut service = Service::logging_to(&log, &settings).await;
    work(&service).await;
    assert!(service.terminate().await);
    log.assert_free_of(&[PASSWORD]);
    log.json_lines().into_iter().filter(|line| line["target"] == "audit").collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn an_event_has_actor_address_and_request_id() {
    let events = events(&[], async |service| {
        service.register("ada").await;
        let login = json!({"login_name": "ada", "password": PASSWORD});
        service.post("/v1/login", login).header("x-request-id", "the-login").send().await;
    })
    .await;
    assert_eq!(names(&events), ["registered", "login"]);
    let login = &events[1];
    assert_eq!(login["span"]["request_id"], "the-login");
    assert_eq!(login["address"], "127.0.0.1");
    assert_eq!(login["user_id"], events[0]["user_id"]);
    assert_eq!(login["actor"], login["user_id"]);
}

#[tokio::test]
async fn account_changes_are_audited() {
    let events = events(&[], async |service| {
        let token = service.register_and_login("ada").await;
        let new = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
        service.put("/v1/users/me/password", new).bearer(&token).send().await;
        let wrong = json!({"current_password": "wrong", "new_password": "horse staple battery"});
        service.put("/v1/users/me/password", wrong).bearer(&token).send().await;
        service.patch("/v1/users/me", json!({"login_name": "lovelace"})).bearer(&token).send().await;
        service.patch("/v1/users/me", json!({"profile": {"name": "Ada"}})).bearer(&token).send().await;
        let second = service.try_login("lovelace", NEW_PASSWORD).await.json();
        let path = format!("/v1/sessions/{}", second["session"]["session_id"].as_str().expect("an id"));
        service.delete(&path).bearer(&token).send().await;
        service.delete("/v1/users/me").bearer(&token).send().await;
    })
    .await;
    let expected = [
        "registered",
        "login",
        "password_changed",
        "password_refused",
        "login_name_changed",
        "login",
        "session_ended",
        "user_deleted",
    ];
    assert_eq!(names(&events), expected);
}

#[tokio::test]
async fn refused_logins_are_audited_without_their_input() {
    let events = events(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "2/15m")], async |service| {
        for _ in 0..3 {
            service.try_login("a-name-or-a-password", "another one").await;
        }
    })
    .await;
    assert_eq!(names(&events), ["login_refused", "login_refused", "throttled"]);
    let text = json!(events).to_string();
    assert!(!text.contains("a-name-or-a-password") && !text.contains("another one"), "{text}");
}

#[tokio::test]
async fn refused_registrations_are_audited_without_their_input() {
    let events = events(&[("SYMBOLON_THROTTLE_REGISTRATIONS", "3/15m")], async |service| {
        service.register("a-name-or-a-password").await;
        service.post("/v1/users", registration("a-name-or-a-password")).send().await;
        let mut weak = registration("a-name-or-a-password");
        weak["password"] = json!("password1");
        service.post("/v1/users", weak.clone()).send().await;
        service.post("/v1/users", weak).send().await;
    })
    .await;
    assert_eq!(names(&events), ["registered", "registration_refused", "registration_refused", "throttled"]);
    assert!(events.iter().all(|event| event["address"] == "127.0.0.1" && event["actor"] == "nobody"), "{events:?}");
    assert!(!json!(events).to_string().contains("a-name-or-a-password"), "{events:?}");
}

#[tokio::test]
async fn operator_actions_are_audited_with_the_operator_as_actor() {
    let events = events(&[], async |service| {
        let user_id = service.register("ada").await;
        let path = |end: &str| format!("/users/{user_id}/{end}");
        service.operator(Method::POST, &path("sessions")).json(&json!({})).send().await;
        service.operator(Method::POST, &path("password-reset")).send().await;
        service.operator(Method::PUT, &path("permissions")).json(&json!({"permissions": ["read"]})).send().await;
        service.operator(Method::PUT, &path("suspended")).json(&json!({"suspended": true})).send().await;
        service.operator(Method::PUT, &path("suspended")).json(&json!({"suspended": false})).send().await;
        service.get("/v1/operator/stats").bearer("symop_a-guess-at-the-token").send().await;
    })
    .await;
    let expected = [
        "registered",
        "session_issued",
        "reset_started",
        "permissions_changed",
        "suspended",
        "unsuspended",
        "operator_refused",
    ];
    assert_eq!(names(&events), expected);
    assert!(events[1..6].iter().all(|event| event["actor"] == "operator"), "{events:?}");
    assert_eq!(events[6]["actor"], "nobody");
}

#[tokio::test]
async fn refused_operator_requests_are_audited_once_and_then_counted() {
    const REFUSED: u64 = 300;
    let events = events(&[TRUST_LOOPBACK], async |service| {
        for number in 0..REFUSED {
            let request =
                service.get("/v1/operator/stats").header("x-forwarded-for", &format!("203.0.113.{}", number % 256));
            let request = if number % 2 == 0 { request } else { request.bearer("symop_a-guess-at-the-token") };
            request.send().await.problem(401, "operator-only");
        }
    })
    .await;
    assert!(names(&events).iter().all(|name| *name == "operator_refused"));
    let count = |event: &Value| event["count"].as_u64().unwrap_or(1);
    assert_eq!(events.iter().map(count).sum::<u64>(), REFUSED);
    // One at once, and one for every ten seconds or part of them.
    assert!((2..=5).contains(&events.len()), "{} events", events.len());
    assert_eq!((&events[0]["address"], &events[1]["address"]), (&json!("203.0.113.0"), &json!("203.0.113.1")));
}

#[tokio::test]
async fn throttled_requests_are_audited_once_and_then_counted() {
    const REFUSED: u64 = 60;
    let settings = [TRUST_LOOPBACK, ("SYMBOLON_THROTTLE_NAME", "1/1h")];
    let events = events(&settings, async |service| {
        service.try_login("ada", "wrong").await;
        for number in 0..REFUSED {
            let login = service.post("/v1/login", json!({"login_name": "ada", "password": "wrong"}));
            let login = login.header("x-forwarded-for", &format!("203.0.113.{number}"));
            login.send().await.problem(429, "too-many-attempts");
        }
    })
    .await;
    let (first, throttled) = events.split_first().expect("events");
    assert_eq!(first["event"], "login_refused");
    assert!(names(throttled).iter().all(|name| *name == "throttled"));
    let count = |event: &Value| event["count"].as_u64().unwrap_or(1);
    assert_eq!(throttled.iter().map(count).sum::<u64>(), REFUSED);
    assert!((2..=5).contains(&throttled.len()), "{} events", throttled.len());
    let addresses = (&throttled[0]["address"], &throttled[1]["address"]);
    assert_eq!(addresses, (&json!("203.0.113.0"), &json!("203.0.113.1")));
}

#[tokio::test]
async fn balancer_changes_are_audited_with_their_subject() {
    let events = events(&[], async |service| {
        let algorithm = service.operator(Method::PUT, "/balancer/algorithm");
        algorithm.json(&json!({"algorithm": "hash"})).send().await;
        let node = json!({"id": "spare", "url": "http://127.0.0.1:1"});
        service.operator(Method::POST, "/balancer/nodes").json(&node).send().await;
        for _ in 0..2 {
            service.operator(Method::DELETE, "/balancer/nodes/spare").send().await;
        }
    })
    .await;
    assert_eq!(names(&events), ["algorithm_chosen", "node_added", "node_removed"]);
    assert_eq!(events.iter().map(|event| event["subject"].clone()).collect::<Vec<_>>(), ["hash", "spare", "spare"]);
    assert!(events.iter().all(|event| event["actor"] == "operator" && event["address"] == "127.0.0.1"), "{events:?}");
}

#[tokio::test]
async fn audit_events_have_a_log_level_of_their_own() {
    let quiet = events(&[("SYMBOLON_LOG", "error")], async |service| drop(service.register("ada").await)).await;
    assert_eq!(names(&quiet), ["registered"]);
    let off = events(&[("SYMBOLON_LOG", "info,audit=off")], async |service| drop(service.register("ada").await)).await;
    assert_eq!(names(&off), [""; 0]);
}

#[tokio::test]
async fn choices_at_a_gateway_are_audited_with_actor_and_address() {
    let (service, log) = (Service::start().await, LogFile::new());
    let settings = [("SYMBOLON_LOG_FORMAT", "json"), TRUST_LOOPBACK];
    let mut gateway = service.fleet_gateway_logging_to(&log, &[], &settings).await;
    let choose = |token: &'static str| {
        let choice = gateway.put("/v1/operator/gateway/algorithm", json!({"algorithm": "round_robin"}));
        choice.header("x-forwarded-for", "203.0.113.9").bearer(token).send()
    };
    assert_eq!(choose("wrong").await.status, 401);
    assert_eq!(choose(OPERATOR_TOKEN).await.status, 204);
    assert!(gateway.terminate().await);
    let events: Vec<Value> = log.json_lines().into_iter().filter(|line| line["target"] == "audit").collect();
    assert_eq!(names(&events), ["operator_refused", "algorithm_chosen"]);
    assert_eq!((&events[1]["actor"], &events[1]["subject"]), (&json!("operator"), &json!("round_robin")));
    assert!(events.iter().all(|event| event["address"] == "203.0.113.9"), "{events:?}");
}
