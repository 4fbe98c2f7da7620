//! Metrics for Prometheus.

use crate::support::{Service, servers::free_port, until};

#[tokio::test]
async fn requests_are_counted_by_route() {
    let service = Service::start().await;
    let user_id = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60";
    service.get(&format!("/v1/users/{user_id}")).send().await.problem(401, "unauthenticated");
    service.get(&format!("/unknown/{user_id}")).send().await.problem(404, "not-found");
    let text = service.metrics().await;
    let line = r#"symbolon_http_requests_total{method="GET",route="/v1/users/{user_id}",status="401"} 1"#;
    assert!(text.contains(line), "{text}");
    assert!(text.contains(r#"symbolon_http_requests_total{method="GET",route="none",status="404"} 1"#), "{text}");
    assert!(!text.contains(user_id), "{text}");
}

#[tokio::test]
async fn metrics_are_prefixed_and_counters_end_in_total() {
    let service = Service::start().await;
    until("the resources were measured", async || service.metrics().await.contains("symbolon_memory_used_bytes "))
        .await;
    let text = service.metrics().await;
    assert!(text.lines().count() > 100, "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("symbolon_"), "{line}");
    }
    for line in text.lines().filter(|line| line.starts_with("# TYPE") && line.ends_with("counter")) {
        let name = line.split(' ').nth(2).expect("a name");
        assert!(text.contains(&format!("{name}_total")), "{line}");
    }
    for name in
        ["password_hashes_total", "circuit_open{store=\"shared\"} 0", "tuner_knob{knob=\"hashing_memory\"", "leader "]
    {
        assert!(text.contains(&format!("symbolon_{name}")), "{name}: {text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn metrics_need_the_operator_token_unless_operators_have_a_listener() {
    Service::start().await.get("/metrics").send().await.problem(401, "operator-only");
    let port = free_port();
    let separate = Service::with(&[("SYMBOLON_OPERATOR_LISTEN", &format!("127.0.0.1:{port}"))]).await;
    separate.get("/metrics").send().await.problem(404, "not-found");
    let open = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.expect("an answer");
    assert_eq!(open.status(), 200);
    assert!(open.headers()["content-type"].to_str().is_ok_and(|kind| kind.starts_with("application/openmetrics-text")));
}
