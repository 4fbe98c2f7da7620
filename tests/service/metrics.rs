//! What an instance tells Prometheus.

use reqwest::Method;

use super::{
    harness::{Service, until},
    real_stores::TOKEN,
};

async fn text(service: &Service) -> String {
    let reply = service.request(Method::GET, "/metrics").bearer(TOKEN).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.header("content-type").starts_with("application/openmetrics-text"));
    reply.text
}

async fn service() -> Service {
    Service::with(&[("SYMBOLON_OPERATOR_TOKEN", TOKEN)]).await
}

#[tokio::test]
async fn requests_are_counted_by_route_never_by_path() {
    let service = service().await;
    let user_id = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60";
    service.request(Method::GET, &format!("/v1/users/{user_id}")).send().await.problem(401, "unauthenticated");
    service.request(Method::GET, &format!("/nowhere/{user_id}")).send().await.problem(404, "not-found");
    let text = text(&service).await;
    let line = r#"symbolon_requests_total{method="GET",route="/v1/users/{user_id}",status="401"} 1"#;
    assert!(text.contains(line), "{text}");
    assert!(text.contains(r#"symbolon_requests_total{method="GET",route="none",status="404"} 1"#), "{text}");
    assert!(!text.contains(user_id), "{text}");
}

#[tokio::test]
async fn every_name_begins_with_the_services_and_counters_end_in_total() {
    let service = service().await;
    until("something was measured", async || text(&service).await.contains("symbolon_memory_used_bytes ")).await;
    let text = text(&service).await;
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
async fn they_are_the_operators_unless_operators_have_a_listener_of_their_own() {
    service().await.request(Method::GET, "/metrics").send().await.problem(401, "operator-only");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    let apart = Service::with(&[("SYMBOLON_OPERATOR_LISTEN", &format!("127.0.0.1:{port}"))]).await;
    apart.request(Method::GET, "/metrics").send().await.problem(404, "not-found");
    let open = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.expect("an answer");
    assert_eq!(open.status(), 200);
}
