//! Starts and ends of processes.

use serde_json::json;

use crate::support::{GENERATED_OPERATOR_TOKEN, Service, registration, temporary_directory, until};

#[tokio::test]
async fn acknowledged_changes_survive_a_kill() {
    let mut service = Service::start().await;
    let (token, ended) = (service.register_and_login("ada").await, service.login("ada").await);
    service.patch("/v1/users/me/preferences", json!({"theme": "dark"})).bearer(&token).send().await;
    service.log_out(&ended).await;
    service.kill().await;
    let service = service.another().await;
    assert_eq!(service.session_status(&token).await, 200);
    assert_eq!(service.session_status(&ended).await, 401);
    let preferences = service.get("/v1/users/me/preferences").bearer(&token).send().await;
    assert_eq!(preferences.json(), json!({"theme": "dark"}));
    service.login("ada").await;
}

#[tokio::test]
async fn patches_acknowledged_before_a_kill_are_not_lost() {
    let mut service = Service::start().await;
    let token = service.register_and_login("ada").await;
    for round in 0..5 {
        let patches = (0..20).map(|field| {
            let field = format!("{round}-{field}");
            let request = service.patch("/v1/users/me/preferences", json!({field.clone(): true})).bearer(&token);
            async move { request.try_send().await.is_ok_and(|reply| reply.status == 200).then_some(field) }
        });
        let mut patches: futures_util::stream::FuturesUnordered<_> = patches.collect();
        let mut acknowledged = Vec::new();
        while acknowledged.len() < 5 {
            acknowledged
                .extend(futures_util::StreamExt::next(&mut patches).await.expect("five patches succeed").into_iter());
        }
        service.kill().await;
        let rest = futures_util::StreamExt::collect::<Vec<_>>(patches).await;
        acknowledged.extend(rest.into_iter().flatten());
        service = service.another().await;
        let document = service.get("/v1/users/me/preferences").bearer(&token).send().await.json();
        for field in acknowledged {
            assert_eq!(document[&field], true, "{field} was acknowledged and lost");
        }
    }
}

/// Waits until a password is being hashed.
async fn until_hashing(service: &Service) {
    until("a password is being hashed", async || {
        service.operator_view("/stats").await["password_hashing"]["running"] == 1
    })
    .await;
}

#[tokio::test]
async fn a_stop_signal_lets_requests_under_way_finish() {
    let mut service = Service::with(&[("SYMBOLON_ARGON2_MEMORY_KIB", "262144")]).await;
    let request = service.post("/v1/users", registration("ada"));
    let registering = tokio::spawn(request.send());
    until_hashing(&service).await;
    assert!(service.terminate().await, "the exit code is not 0");
    assert_eq!(registering.await.expect("a reply").status, 201);
    let service = service.another().await;
    service.post("/v1/users", registration("ada")).send().await.problem(409, "login-name-taken");
}

#[tokio::test]
async fn an_instance_that_stops_leaves_the_fleet() {
    let first = Service::start().await;
    let mut second = first.another().await;
    let count = async || {
        let stats = first.operator_view("/balancer").await;
        stats["total_nodes"].as_u64()
    };
    until("both instances are listed", async || count().await == Some(2)).await;
    assert!(second.terminate().await);
    assert_eq!(count().await, Some(1));
}

#[tokio::test]
async fn instances_started_together_share_a_new_data_directory() {
    let directory = temporary_directory();
    let path = directory.path().join("data");
    // Each of them may be the one that generates the operator token.
    let settings = [("SYMBOLON_DATA_DIR", path.to_str().expect("a path")), GENERATED_OPERATOR_TOKEN];
    let starts = (0..4).map(|_| Service::with(&settings));
    let services = futures_util::future::join_all(starts).await;
    let token = services[0].register_and_login("ada").await;
    let operator_token = std::fs::read_to_string(path.join("operator-token")).expect("a token");
    for service in &services {
        assert_eq!(service.session_status(&token).await, 200);
        let stats = service.get("/v1/operator/stats").bearer(operator_token.trim()).send().await;
        assert_eq!(stats.status, 200, "{}", stats.text);
    }
}

#[tokio::test]
async fn liveness_and_readiness_are_separate() {
    let service = Service::start().await;
    assert_eq!(service.get("/v1/health/live").send().await.json(), json!({"status": "ok"}));
    let ready = service.get("/v1/health/ready").send().await;
    assert_eq!(ready.status, 200);
    let names: Vec<_> =
        ready.json()["dependencies"].as_array().expect("a list").iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["shared", "db-node-0", "db-node-1", "db-node-2"]);
}

#[tokio::test]
async fn a_client_disconnect_does_not_stop_a_registration() {
    let service = Service::with(&[("SYMBOLON_ARGON2_MEMORY_KIB", "262144")]).await;
    let request = service.post("/v1/users", registration("ada"));
    let registering = tokio::spawn(request.try_send());
    until_hashing(&service).await;
    registering.abort();
    until("the user is registered", async || {
        service.operator(reqwest::Method::GET, "/users?login_name=ada").send().await.status == 200
    })
    .await;
}
