use reqwest::Method;
use serde_json::json;

use super::harness::{PASSWORD, Service, until};

const ALL: [(&str, &str); 15] = [
    ("GET", "/stats"),
    ("GET", "/partitions"),
    ("GET", "/partitions/ada"),
    ("GET", "/balancer"),
    ("PUT", "/balancer/algorithm"),
    ("POST", "/balancer/nodes"),
    ("DELETE", "/balancer/nodes/a"),
    ("GET", "/resources"),
    ("GET", "/resources/history"),
    ("GET", "/resources/limits"),
    ("GET", "/users?login_name=ada"),
    ("POST", "/users/00000000-0000-7000-8000-000000000000/sessions"),
    ("POST", "/users/00000000-0000-7000-8000-000000000000/password-reset"),
    ("PUT", "/users/00000000-0000-7000-8000-000000000000/permissions"),
    ("PUT", "/users/00000000-0000-7000-8000-000000000000/suspended"),
];

#[tokio::test]
async fn the_operator_surface_is_closed_without_a_token() {
    let service = Service::start().await;
    let token = service.member("ada").await;
    for (method, path) in ALL {
        let request = || service.request(method.parse().expect("a method"), &format!("/v1/operator{path}"));
        request().send().await.problem(401, "operator-only");
        request().bearer("symop_wrong-wrong-wrong-wrong").send().await.problem(401, "operator-only");
        request().bearer(&token).send().await.problem(403, "forbidden");
    }
}

#[tokio::test]
async fn wrong_tokens_are_counted_by_address_and_the_right_one_is_always_taken() {
    let settings = [("SYMBOLON_THROTTLE_OPERATOR", "3/1h"), ("SYMBOLON_TRUSTED_PROXIES", "127.0.0.0/8")];
    let service = Service::with(&settings).await;
    let right = service.operator_token();
    let admin = {
        let user_id = service.register("ada").await;
        let admin = json!({"permissions": ["read", "write", "admin"]});
        service.operator(Method::PUT, &format!("/users/{user_id}/permissions")).json(&admin).send().await;
        service.login("ada").await
    };
    let from = |path: &str, address: &str| service.get(path).header("x-forwarded-for", address);
    for path in ["/v1/operator/stats", "/metrics", "/v1/operator/users?login_name=ada"] {
        let guess = from(path, "203.0.113.9").bearer("symop_a-guess-at-the-token");
        guess.send().await.problem(401, "operator-only");
    }
    for path in ["/v1/operator/stats", "/metrics"] {
        let refused = from(path, "203.0.113.9").bearer("symop_another-guess-at-it").send().await;
        refused.problem(429, "too-many-attempts");
        assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| (1..=1200).contains(&seconds)));
        assert_eq!(from(path, "203.0.113.9").bearer(&right).send().await.status, 200);
        assert_eq!(from(path, "203.0.113.9").bearer(&admin).send().await.status, 200);
        from(path, "203.0.113.9").send().await.problem(401, "operator-only");
        let elsewhere = from(path, "198.51.100.1").bearer("symop_a-guess-at-the-token");
        elsewhere.send().await.problem(401, "operator-only");
    }
    let registration = service.post("/v1/users", super::harness::registration("eve"));
    let guess = registration.header("x-forwarded-for", "203.0.113.9").bearer("symop_a-guess-at-the-token");
    guess.send().await.problem(429, "too-many-attempts");
    let metrics = service.get("/metrics").bearer(&right).send().await.text;
    assert!(metrics.contains("symbolon_operator_requests_refused_total 10"), "{metrics}");
}

#[tokio::test]
async fn configured_tokens_replace_the_one_that_is_made() {
    let tokens = "the-first-of-two-tokens,the-second-of-two-tokens";
    let service = Service::with(&[("SYMBOLON_OPERATOR_TOKEN", tokens)]).await;
    assert!(!service.data().join("operator-token").exists());
    for token in tokens.split(',') {
        assert_eq!(service.get("/v1/operator/stats").bearer(token).send().await.status, 200);
    }
}

#[tokio::test]
async fn the_token_that_is_made_is_for_its_owner_only_and_stays() {
    use std::os::unix::fs::PermissionsExt;
    let mut service = Service::start().await;
    let token = service.operator_token();
    let mode = std::fs::metadata(service.data().join("operator-token")).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mode = std::fs::metadata(service.data()).expect("the directory").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    service.kill().await;
    assert_eq!(service.another().await.operator_token(), token);
}

#[tokio::test]
async fn permissions_are_in_force_at_once_in_live_sessions() {
    let service = Service::start().await;
    let user_id = service.register("ada").await;
    let other = service.register("eve").await;
    let token = service.login("ada").await;
    let set = |list: serde_json::Value| {
        service
            .operator(Method::PUT, &format!("/users/{user_id}/permissions"))
            .json(&json!({ "permissions": list }))
            .send()
    };
    let (own, others) = ("/v1/users/me".to_owned(), format!("/v1/users/{other}"));
    let status = async |path: &str| service.get(path).bearer(&token).send().await.status.as_u16();
    assert_eq!((status(&own).await, status(&others).await), (200, 403));
    assert_eq!(set(json!(["read", "write", "admin"])).await.json()["permissions"], json!(["read", "write", "admin"]));
    assert_eq!((status(&own).await, status(&others).await), (200, 200));
    assert_eq!(service.get("/v1/operator/stats").bearer(&token).send().await.status, 200);
    set(json!(["read"])).await;
    assert_eq!((status(&own).await, status(&others).await), (200, 403));
    service.patch("/v1/users/me", json!({})).bearer(&token).send().await.problem(403, "forbidden");
    set(json!([])).await;
    assert_eq!(status(&own).await, 403);
    assert_eq!(set(json!(["root"])).await.problem(400, "malformed-request"), ["permissions[0]"]);
}

#[tokio::test]
async fn a_suspended_user_is_out_until_it_is_let_in_again() {
    let service = Service::start().await;
    let user_id = service.register("ada").await;
    let token = service.login("ada").await;
    let set = |suspended: bool| {
        service
            .operator(Method::PUT, &format!("/users/{user_id}/suspended"))
            .json(&json!({ "suspended": suspended }))
            .send()
    };
    assert_eq!(set(true).await.status, 204);
    assert_eq!(service.session_status(&token).await, 401);
    let refused = service.try_login("ada", PASSWORD).await;
    assert_eq!(refused.text, service.try_login("nobody", PASSWORD).await.text);
    refused.problem(401, "invalid-credentials");
    let issue = service.operator(Method::POST, &format!("/users/{user_id}/sessions")).json(&json!({}));
    issue.send().await.problem(409, "suspended");
    assert_eq!(set(false).await.status, 204);
    assert_eq!(service.session_status(&token).await, 401);
    service.login("ada").await;
}

#[tokio::test]
async fn an_issued_session_is_like_one_from_a_login() {
    let service = Service::start().await;
    let user_id = service.register("ada").await;
    let issued = service.operator(Method::POST, &format!("/users/{user_id}/sessions")).json(&json!({})).send().await;
    assert_eq!(issued.status, 200);
    let token = issued.json()["token"].as_str().expect("a token").to_owned();
    assert_eq!(service.get("/v1/session").bearer(&token).send().await.json()["user_id"], user_id);
    let nobody = "/users/00000000-0000-7000-8000-000000000000/sessions";
    service.operator(Method::POST, nobody).json(&json!({})).send().await.problem(404, "not-found");
}

#[tokio::test]
async fn a_user_is_found_by_its_name() {
    let service = Service::start().await;
    let user_id = service.register("ada").await;
    let found = service.operator(Method::GET, "/users?login_name=ADA").send().await;
    assert_eq!(found.json()["user_id"], user_id);
    service.operator(Method::GET, "/users?login_name=nobody").send().await.problem(404, "not-found");
}

#[tokio::test]
async fn stats_count_sessions_and_partitions() {
    let service = Service::start().await;
    service.member("ada").await;
    let token = service.login("ada").await;
    let stats = async || service.operator(Method::GET, "/stats").send().await.json();
    let first = stats().await;
    assert_eq!(first["session_management"]["total_sessions"], 2);
    assert_eq!(first["session_management"]["session_ttl"], 3600);
    assert!(first["session_management"]["average_session_size_bytes"].as_f64().expect("a number") > 100.0);
    assert_eq!(first["data_partitioning"]["total_nodes"], 3);
    assert_eq!(first["data_partitioning"]["virtual_nodes"], 300);
    service.request(Method::POST, "/v1/logout").bearer(&token).send().await;
    assert_eq!(stats().await["session_management"]["total_sessions"], 1);
}

#[tokio::test]
async fn a_key_is_placed_where_the_user_says_it_lives() {
    let service = Service::start().await;
    let token = service.member("ada").await;
    let user = service.get("/v1/users/me").bearer(&token).send().await.json();
    let path = format!("/partitions/{}", user["user_id"].as_str().expect("an id"));
    let placement = service.operator(Method::GET, &path).send().await.json();
    assert_eq!(placement["node_id"], user["partition"]["node_id"]);
    assert_eq!(placement["partition_id"], user["partition"]["partition_id"]);
    assert_eq!((&placement["after"], &placement["epoch"]), (&json!(null), &json!(1)));
}

#[tokio::test]
async fn every_instance_shows_the_fleet() {
    let first = Service::with(&[("SYMBOLON_INSTANCE_ID", "one"), ("SYMBOLON_ZONE", "a")]).await;
    let mut second = first.another_with(&[("SYMBOLON_INSTANCE_ID", "two"), ("SYMBOLON_WEIGHT", "3")]).await;
    let nodes = async |service: &Service| {
        let stats = service.operator(Method::GET, "/balancer").send().await.json();
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
async fn resources_are_measured_and_averaged() {
    let service = Service::start().await;
    let read = async |path: &str| service.operator(Method::GET, path).send().await.json();
    until("there is a measurement", async || read("/resources").await["current"].is_object()).await;
    let resources = read("/resources?window=5m").await;
    for name in [
        "cpu_percent",
        "memory_percent",
        "memory_available_mb",
        "memory_used_mb",
        "disk_usage_percent",
        "disk_free_gb",
        "network_bytes_sent",
        "network_bytes_recv_per_second",
    ] {
        assert!(
            resources["current"][name].is_number() && resources["average"][name].is_number(),
            "{name}: {resources}"
        );
    }
    for source in ["cpu", "memory"] {
        let source = resources["current"]["sources"][source].as_str().expect("a source");
        assert!(["cgroup_v2", "cgroup_v1", "host"].contains(&source), "{source}");
    }
    assert_eq!(read("/resources").await["average"], json!(null));
}

#[tokio::test]
async fn the_history_of_resources_has_bounded_points_oldest_first() {
    let service = Service::with(&[("SYMBOLON_MONITOR_INTERVAL", "1s")]).await;
    let read = async |path: &str| service.operator(Method::GET, path).send().await.json()["points"].clone();
    let fine = "/resources/history?window=1m&points=1000";
    until("there are three measurements", async || read(fine).await.as_array().is_some_and(|all| all.len() >= 3)).await;
    let points = read(fine).await;
    let times: Vec<_> = points.as_array().expect("points").iter().map(|point| point["timestamp"].as_str()).collect();
    assert!(times.len() >= 3 && times.is_sorted(), "{points}");
    let one = read("/resources/history?window=24h&points=1").await;
    assert_eq!(one.as_array().map(Vec::len), Some(1));
    assert!(one[0]["cpu_percent"].is_number(), "{one}");
}

#[tokio::test]
async fn limits_of_resources_are_checked() {
    let service = Service::start().await;
    let read = async || service.operator(Method::GET, "/resources/limits").send().await.json();
    until("there is a measurement", async || read().await["status"] != "no_data").await;
    let limits = read().await;
    // What this machine is short of is not for a test to know.
    let violations = limits["violations"].as_array().expect("violations");
    assert_eq!(limits["status"] == "violations", !violations.is_empty(), "{limits}");
    for violation in violations {
        assert!(violation["current"].as_f64() > violation["limit"].as_f64(), "{limits}");
        assert!(violation["severity"].is_string() && violation["since"].is_string(), "{limits}");
    }
}

#[tokio::test]
async fn a_listener_of_its_own_takes_the_operator_endpoints_away() {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let address = format!("127.0.0.1:{port}");
    let service = Service::with(&[("SYMBOLON_OPERATOR_LISTEN", &address)]).await;
    service.operator(Method::GET, "/stats").send().await.problem(404, "not-found");
    let url = format!("{}/v1/operator/stats", service.operator_url.as_deref().expect("an address"));
    let reply = reqwest::Client::new().get(url).bearer_auth(service.operator_token()).send().await.expect("an answer");
    assert_eq!(reply.status(), 200);
}
