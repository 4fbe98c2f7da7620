//! What survives the end of a process.

use serde_json::json;

use super::harness::{DEADLINE, Service, until};

#[tokio::test]
async fn everything_acknowledged_survives_a_kill() {
    let mut service = Service::start().await;
    let (token, ended) = (service.member("ada").await, service.login("ada").await);
    service.patch("/v1/users/me/preferences", json!({"theme": "dark"})).bearer(&token).send().await;
    service.request(reqwest::Method::POST, "/v1/logout").bearer(&ended).send().await;
    service.kill().await;
    let service = service.another().await;
    assert_eq!(service.session_status(&token).await, 200);
    assert_eq!(service.session_status(&ended).await, 401);
    let preferences = service.get("/v1/users/me/preferences").bearer(&token).send().await;
    assert_eq!(preferences.json(), json!({"theme": "dark"}));
    service.login("ada").await;
}

#[tokio::test]
async fn patches_acknowledged_before_a_kill_in_their_midst_are_all_there() {
    let mut service = Service::start().await;
    let token = service.member("ada").await;
    for round in 0..5 {
        let patches = (0..20).map(|field| {
            let field = format!("{round}-{field}");
            let request = service.patch("/v1/users/me/preferences", json!({field.clone(): true})).bearer(&token);
            async move { request.try_send().await.is_ok_and(|reply| reply.status == 200).then_some(field) }
        });
        let mut patches: futures_util::stream::FuturesUnordered<_> = patches.collect();
        let mut acknowledged = Vec::new();
        while acknowledged.len() < 5 {
            acknowledged.extend(futures_util::StreamExt::next(&mut patches).await.expect("five succeed").into_iter());
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

#[tokio::test]
async fn a_stop_signal_lets_requests_under_way_finish() {
    let mut service = Service::with(&[("SYMBOLON_HASH_MEMORY_KIB", "262144")]).await;
    let request = service.post("/v1/users", super::harness::registration("ada"));
    let registering = tokio::spawn(request.send());
    until("the registration is under way", async || {
        let stats = service.operator(reqwest::Method::GET, "/stats").send().await.json();
        stats["password_hashing"]["running"] == 1
    })
    .await;
    assert!(service.terminate().await, "it ends well");
    assert_eq!(registering.await.expect("a reply").status, 201);
    let service = service.another().await;
    service.post("/v1/users", super::harness::registration("ada")).send().await.problem(409, "login-name-taken");
}

#[tokio::test]
async fn an_instance_that_stops_leaves_the_fleet() {
    let first = Service::start().await;
    let mut second = first.another().await;
    let count = async || {
        let stats = first.operator(reqwest::Method::GET, "/balancer").send().await.json();
        stats["total_nodes"].as_u64()
    };
    until("both are known", async || count().await == Some(2)).await;
    assert!(second.terminate().await);
    assert_eq!(count().await, Some(1));
}

#[tokio::test]
async fn processes_that_start_at_once_on_new_data_share_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("data");
    let settings = [("SYMBOLON_DATA", path.to_str().expect("a path"))];
    let starts = (0..4).map(|_| Service::with(&settings));
    let services = futures_util::future::join_all(starts).await;
    let token = services[0].member("ada").await;
    for service in &services {
        assert_eq!(service.session_status(&token).await, 200);
    }
}

#[tokio::test]
async fn health_tells_live_from_ready() {
    let service = Service::start().await;
    assert_eq!(service.get("/v1/health/live").send().await.json(), json!({"status": "ok"}));
    let ready = service.get("/v1/health/ready").send().await;
    assert_eq!(ready.status, 200);
    let names: Vec<_> =
        ready.json()["dependencies"].as_array().expect("a list").iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["shared", "db-node-0", "db-node-1", "db-node-2"]);
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_stop_a_registration() {
    let service = Service::with(&[("SYMBOLON_HASH_MEMORY_KIB", "262144")]).await;
    let request = service.post("/v1/users", super::harness::registration("ada"));
    let registering = tokio::spawn(request.try_send());
    until("the registration is under way", async || {
        let stats = service.operator(reqwest::Method::GET, "/stats").send().await.json();
        stats["password_hashing"]["running"] == 1
    })
    .await;
    registering.abort();
    let registered = until("the user is registered", async || {
        service.operator(reqwest::Method::GET, "/users?login_name=ada").send().await.status == 200
    });
    tokio::time::timeout(DEADLINE, registered).await.expect("in time");
}
