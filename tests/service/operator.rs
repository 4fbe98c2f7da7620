//! Operator endpoints: access to them, tokens, and the administration of users.

use std::os::unix::fs::PermissionsExt;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    ABSENT_USER, GENERATED_OPERATOR_TOKEN, OPERATOR_TOKEN, PASSWORD, Service, TRUST_LOOPBACK, registration,
    servers::free_port, until,
};

/// A token of the right form that is wrong.
const WRONG_TOKEN: &str = "symop_a-wrong-operator-token";

/// Every operation in the OpenAPI document that only operators may use: its method and a path.
fn operator_operations() -> Vec<(Method, String)> {
    let document: Value = serde_json::from_str(include_str!("../../openapi/openapi.json")).expect("JSON");
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        if !path.starts_with("/v1/operator/") && path != "/metrics" {
            continue;
        }
        for (method, operation) in item.as_object().expect("a path item") {
            let mut path = path.clone();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let (name, example) = (parameter["name"].as_str().expect("a name"), &parameter["example"]);
                if parameter["in"] == "path" {
                    path = path.replace(&format!("{{{name}}}"), example.as_str().expect("an example"));
                } else if parameter["required"] == true {
                    path = format!("{path}?{name}={}", example.as_str().expect("an example"));
                }
            }
            operations.push((method.to_ascii_uppercase().parse().expect("a method"), path));
        }
    }
    operations
}

#[tokio::test]
async fn every_operator_operation_needs_the_operator_token() {
    let service = Service::start().await;
    let gateway = service.fleet_gateway(&[]).await;
    let token = service.register_and_login("ada").await;
    let operations = operator_operations();
    // A sample, so that a document without operations fails.
    for (method, path) in
        [(Method::GET, "/metrics"), (Method::POST, "/v1/operator/tuning/cycle"), (Method::GET, "/v1/operator/gateway")]
    {
        assert!(operations.contains(&(method, path.to_owned())), "{operations:?}");
    }
    for (method, path) in operations {
        let is_gateways = path.starts_with("/v1/operator/gateway");
        let status = async |token: Option<&str>| {
            let request = if is_gateways { &gateway } else { &service }.request(method.clone(), &path);
            let request = token.into_iter().fold(request, |request, token| request.bearer(token));
            request.send().await
        };
        println!("{method} {path}");
        status(None).await.problem(401, "operator-only");
        status(Some(WRONG_TOKEN)).await.problem(401, "operator-only");
        // A gateway knows no sessions.
        let (code, problem) = if is_gateways { (401, "operator-only") } else { (403, "forbidden") };
        status(Some(&token)).await.problem(code, problem);
        let permitted = status(Some(OPERATOR_TOKEN)).await;
        assert!(![401, 403, 405].contains(&permitted.status.as_u16()), "{}", permitted.text);
    }
}

#[tokio::test]
async fn wrong_operator_tokens_are_throttled_by_address() {
    let settings = [("SYMBOLON_THROTTLE_OPERATOR", "3/1h"), TRUST_LOOPBACK];
    let service = Service::with(&settings).await;
    let user_id = service.register("ada").await;
    assert_eq!(service.set_permissions(&user_id, &["read", "write", "admin"]).await.status, 200);
    let admin = service.login("ada").await;
    let from = |path: &str, address: &str| service.get(path).header("x-forwarded-for", address);
    for path in ["/v1/operator/stats", "/metrics", "/v1/operator/users?login_name=ada"] {
        let guess = from(path, "203.0.113.9").bearer(WRONG_TOKEN);
        guess.send().await.problem(401, "operator-only");
    }
    for path in ["/v1/operator/stats", "/metrics"] {
        let refused = from(path, "203.0.113.9").bearer(WRONG_TOKEN).send().await;
        refused.problem(429, "too-many-attempts");
        assert!((1..=1200).contains(&refused.retry_after()), "{refused:?}");
        assert_eq!(from(path, "203.0.113.9").bearer(OPERATOR_TOKEN).send().await.status, 200);
        assert_eq!(from(path, "203.0.113.9").bearer(&admin).send().await.status, 200);
        from(path, "203.0.113.9").send().await.problem(401, "operator-only");
        let elsewhere = from(path, "198.51.100.1").bearer(WRONG_TOKEN);
        elsewhere.send().await.problem(401, "operator-only");
    }
    let registration = service.post("/v1/users", registration("eve"));
    let guess = registration.header("x-forwarded-for", "203.0.113.9").bearer(WRONG_TOKEN);
    guess.send().await.problem(429, "too-many-attempts");
    assert_eq!(service.metric("symbolon_operator_requests_refused_total").await, 10.0);
}

#[tokio::test]
async fn configured_operator_tokens_replace_the_generated_one() {
    let tokens = "the-first-of-two-tokens,the-second-of-two-tokens";
    let service = Service::with(&[("SYMBOLON_OPERATOR_TOKEN", tokens)]).await;
    assert!(!service.data().join("operator-token").exists());
    for token in tokens.split(',') {
        assert_eq!(service.get("/v1/operator/stats").bearer(token).send().await.status, 200);
    }
}

#[tokio::test]
async fn only_the_owner_may_read_the_generated_operator_token() {
    let mut service = Service::with(&[GENERATED_OPERATOR_TOKEN]).await;
    let token = service.generated_operator_token();
    assert_eq!(service.get("/v1/operator/stats").bearer(&token).send().await.status, 200);
    let mode = std::fs::metadata(service.data().join("operator-token")).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mode = std::fs::metadata(service.data()).expect("the directory").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    service.kill().await;
    let restarted = service.another_with(&[GENERATED_OPERATOR_TOKEN]).await;
    assert_eq!(restarted.generated_operator_token(), token);
}

#[tokio::test]
async fn permissions_apply_to_live_sessions_at_once() {
    let service = Service::start().await;
    let user_id = service.register("ada").await;
    let other = service.register("eve").await;
    let token = service.login("ada").await;
    let set = |permissions: &'static [&'static str]| service.set_permissions(&user_id, permissions);
    let (own, others) = ("/v1/users/me".to_owned(), format!("/v1/users/{other}"));
    let status = async |path: &str| service.get(path).bearer(&token).send().await.status.as_u16();
    assert_eq!((status(&own).await, status(&others).await), (200, 403));
    assert_eq!(set(&["read", "write", "admin"]).await.json()["permissions"], json!(["read", "write", "admin"]));
    assert_eq!((status(&own).await, status(&others).await), (200, 200));
    assert_eq!(service.get("/v1/operator/stats").bearer(&token).send().await.status, 200);
    set(&["read"]).await;
    assert_eq!((status(&own).await, status(&others).await), (200, 403));
    service.patch("/v1/users/me", json!({})).bearer(&token).send().await.problem(403, "forbidden");
    set(&[]).await;
    assert_eq!(status(&own).await, 403);
    assert_eq!(set(&["root"]).await.problem(400, "malformed-request"), ["permissions[0]"]);
}

#[tokio::test]
async fn a_suspended_user_cannot_log_in_until_readmitted() {
    let service = Service::start().await;
    let user_id = service.register("ada").await;
    let token = service.login("ada").await;
    let set = |suspended: bool| service.suspension(&user_id, suspended).send();
    assert_eq!(set(true).await.status, 204);
    assert_eq!(service.session_status(&token).await, 401);
    let refused = service.try_login("ada", PASSWORD).await;
    assert_eq!(refused.text, service.try_login("unknown", PASSWORD).await.text);
    refused.problem(401, "invalid-credentials");
    let issue = service.operator(Method::POST, &format!("/users/{user_id}/sessions")).json(&json!({}));
    issue.send().await.problem(409, "suspended");
    assert_eq!(set(false).await.status, 204);
    assert_eq!(service.session_status(&token).await, 401);
    service.login("ada").await;
}

#[tokio::test]
async fn an_operator_issues_a_session() {
    let service = Service::start().await;
    let user_id = service.register("ada").await;
    let issued = service.operator(Method::POST, &format!("/users/{user_id}/sessions")).json(&json!({})).send().await;
    assert_eq!(issued.status, 200);
    let token = issued.string("token");
    assert_eq!(service.get("/v1/session").bearer(&token).send().await.json()["user_id"], user_id);
    let absent = service.operator(Method::POST, &format!("/users/{ABSENT_USER}/sessions"));
    absent.json(&json!({})).send().await.problem(404, "not-found");
}

#[tokio::test]
async fn an_operator_finds_a_user_by_login_name() {
    let service = Service::start().await;
    let user_id = service.register("ada").await;
    let found = service.operator(Method::GET, "/users?login_name=ADA").send().await;
    assert_eq!(found.json()["user_id"], user_id);
    service.operator(Method::GET, "/users?login_name=unknown").send().await.problem(404, "not-found");
}

#[tokio::test]
async fn stats_count_sessions_and_partitions() {
    let service = Service::start().await;
    service.register_and_login("ada").await;
    let token = service.login("ada").await;
    let stats = async || service.operator_view("/stats").await;
    let first = stats().await;
    assert_eq!(first["session_management"]["total_sessions"], 2);
    assert_eq!(first["session_management"]["session_ttl"], 3600);
    assert!(first["session_management"]["average_session_size_bytes"].as_f64().expect("a number") > 100.0);
    assert_eq!(first["data_partitioning"]["total_nodes"], 3);
    assert_eq!(first["data_partitioning"]["virtual_nodes"], 300);
    service.log_out(&token).await;
    assert_eq!(stats().await["session_management"]["total_sessions"], 1);
}

#[tokio::test]
async fn a_key_is_located_on_the_users_shard() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let user = service.get("/v1/users/me").bearer(&token).send().await.json();
    let path = format!("/partitions/{}", user["user_id"].as_str().expect("an id"));
    let placement = service.operator_view(&path).await;
    assert_eq!(placement["node_id"], user["partition"]["node_id"]);
    assert_eq!(placement["partition_id"], user["partition"]["partition_id"]);
    assert_eq!((&placement["after"], &placement["epoch"]), (&json!(null), &json!(1)));
}

#[tokio::test]
async fn the_balancer_view_lists_every_instance() {
    let first = Service::with(&[("SYMBOLON_INSTANCE_ID", "one"), ("SYMBOLON_ZONE", "a")]).await;
    let mut second = first.another_with(&[("SYMBOLON_INSTANCE_ID", "two"), ("SYMBOLON_WEIGHT", "3")]).await;
    let nodes = async |service: &Service| {
        let stats = service.operator_view("/balancer").await;
        stats["nodes"].as_array().expect("nodes").clone()
    };
    until("both instances are known to both", async || {
        nodes(&first).await.len() == 2 && nodes(&second).await.len() == 2
    })
    .await;
    let seen = nodes(&first).await;
    assert_eq!((&seen[0]["id"], &seen[0]["zone"], &seen[0]["url"]), (&json!("one"), &json!("a"), &json!(first.url)));
    assert_eq!((&seen[1]["id"], &seen[1]["weight"]), (&json!("two"), &json!(3)));
    assert_eq!(seen[0]["current_connections"], 1);
    assert!(seen[0]["average_response_time"].as_f64().expect("a number") > 0.0);
    second.kill().await;
    until("the killed instance is gone", async || nodes(&first).await.len() == 1).await;
}

#[tokio::test]
async fn a_separate_operator_listener_moves_the_operator_endpoints() {
    let address = format!("127.0.0.1:{}", free_port());
    let service = Service::with(&[("SYMBOLON_OPERATOR_LISTEN", &address)]).await;
    service.operator(Method::GET, "/stats").send().await.problem(404, "not-found");
    let url = format!("http://{address}/v1/operator/stats");
    let reply = reqwest::Client::new().get(url).bearer_auth(OPERATOR_TOKEN).send().await.expect("an answer");
    assert_eq!(reply.status(), 200);
}
