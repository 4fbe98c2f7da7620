//! Overload protection: the concurrency limit, and the requests that are exempt from it.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Connection, Http2, PASSWORD, Service, hold_writers, until};

/// One slot for each class of requests.
const ONE_SLOT: [(&str, &str); 2] = [("SYMBOLON_CONCURRENCY_MIN", "1"), ("SYMBOLON_CONCURRENCY_MAX", "1")];

/// How soon a refusal must come on a busy machine: much sooner than the request that occupies the slot ends.
const PROMPT: Duration = Duration::from_secs(3);

async fn admission(service: &Service) -> Value {
    service.operator_view("/stats").await["admission"].clone()
}

async fn until_admission(service: &Service, what: &str, holds: impl Fn(&Value) -> bool) {
    until(what, async || holds(&admission(service).await)).await;
}

fn adds_up(class: &Value) -> bool {
    let number = |name: &str| class[name].as_u64().expect("a number");
    number("offered") == number("admitted") + number("shed") + number("abandoned") + number("waiting")
}

#[tokio::test]
async fn overload_is_refused_except_for_health_and_operators() {
    let service = Service::with(&ONE_SLOT).await;
    let token = service.register_and_login("ada").await;
    let writers = hold_writers(&service).await;
    let change = tokio::spawn(service.patch("/v1/users/me/preferences", json!({"a": 1})).bearer(&token).send());
    until_admission(&service, "the change is in flight", |admission| admission["requests"]["in_flight"] == 1).await;
    for path in ["/v1/session", "/v1/users/me", "/v1/sessions"] {
        let begun = Instant::now();
        let reply = service.get(path).bearer(&token).send().await;
        reply.problem(503, "overloaded");
        assert_eq!(reply.header("retry-after"), "1");
        assert_eq!(reply.header("x-request-id").len(), 36);
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert!(begun.elapsed() < PROMPT, "it took {:?}", begun.elapsed());
    }
    for path in ["/v1/health/live", "/v1/health/ready", "/docs/", "/openapi.json"] {
        assert_eq!(service.get(path).send().await.status, 200, "{path}");
    }
    assert_eq!(service.operator(Method::GET, "/users?login_name=ada").send().await.status, 200);
    service.login("ada").await;
    let requests = admission(&service).await["requests"].clone();
    assert_eq!((&requests["shed"], &requests["queued"], &requests["limit"]), (&json!(3), &json!(3), &json!(1)));
    drop(writers);
    assert_eq!(change.await.expect("no panic").status, 200);
    assert_eq!(service.session_status(&token).await, 200);
    let admission = admission(&service).await;
    assert!(adds_up(&admission["requests"]) && adds_up(&admission["logins"]), "{admission}");
}

#[tokio::test]
async fn disconnected_clients_leave_no_slot_occupied() {
    let service = Service::with(&ONE_SLOT).await;
    let token = service.register_and_login("ada").await;
    let writers = hold_writers(&service).await;
    let change = tokio::spawn(service.patch("/v1/users/me/preferences", json!({"a": 1})).bearer(&token).try_send());
    until_admission(&service, "the change is in flight", |admission| admission["requests"]["in_flight"] == 1).await;
    change.abort();
    // The change continues without its client, and occupies its slot until it ends.
    let refused = service.get("/v1/session").bearer(&token).send().await;
    refused.problem(503, "overloaded");
    until("a client disconnects while its request waits", async || {
        let queued = admission(&service).await["requests"]["queued"].clone();
        let request = tokio::spawn(service.get("/v1/session").bearer(&token).try_send());
        until_admission(&service, "the request waits", |admission| admission["requests"]["queued"] != queued).await;
        request.abort();
        admission(&service).await["requests"]["abandoned"] != 0
    })
    .await;
    drop(writers);
    until_admission(&service, "every slot is free", |admission| {
        admission["requests"]["in_flight"] == 0 && admission["requests"]["waiting"] == 0
    })
    .await;
    let changed = service.get("/v1/users/me/preferences").bearer(&token).send().await;
    assert_eq!(changed.json(), json!({"a": 1}));
    let requests = admission(&service).await["requests"].clone();
    assert!(adds_up(&requests), "{requests}");
}

#[tokio::test]
async fn a_request_without_its_body_takes_no_slot() {
    let service = Service::with(&ONE_SLOT).await;
    service.register("ada").await;
    let mut stalled = Vec::new();
    for _ in 0..5 {
        let mut client = Connection::to(&service).await;
        client
            .send(
                "POST /v1/login HTTP/1.1
host: x
content-type: application/json
content-length: 60

{",
            )
            .await;
        stalled.push(client);
    }
    until_admission(&service, "all have arrived", |admission| {
        admission["logins"]["offered"] == 6 && admission["logins"]["in_flight"] == 0
    })
    .await;
    service.login("ada").await;
    // One of them sends its body late, and is answered.
    let mut client = stalled.pop().expect("one");
    let body = json!({"login_name": "ada", "password": PASSWORD}).to_string();
    client.send(format!("{:<59}", &body[1..])).await;
    assert_eq!(client.response().await.0, 200);
    drop((stalled, client));
    until_admission(&service, "every slot is free", |admission| admission["logins"]["in_flight"] == 0).await;
    let logins = admission(&service).await["logins"].clone();
    assert!(adds_up(&logins) && logins["shed"] == 0, "{logins}");
}

#[tokio::test]
async fn nothing_is_refused_with_admission_off() {
    let service = Service::with(&[("SYMBOLON_ADMISSION", "off"), ONE_SLOT[0], ONE_SLOT[1]]).await;
    let token = service.register_and_login("ada").await;
    let writers = hold_writers(&service).await;
    let changes: Vec<_> = (0..20)
        .map(|number| {
            let change = json!({number.to_string(): number});
            tokio::spawn(service.patch("/v1/users/me/preferences", change).bearer(&token).send())
        })
        .collect();
    until_admission(&service, "all are in flight", |admission| admission["requests"]["in_flight"] == 20).await;
    assert_eq!(service.session_status(&token).await, 200);
    drop(writers);
    for change in changes {
        let reply = change.await.expect("no panic");
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    let kept = service.get("/v1/users/me/preferences").bearer(&token).send().await.json();
    assert_eq!(kept.as_object().map(|kept| kept.len()), Some(20), "{kept}");
    let admission = admission(&service).await;
    assert_eq!((&admission["enabled"], &admission["requests"]["limit"]), (&json!(false), &json!(null)));
}

#[tokio::test]
async fn a_client_with_many_concurrent_requests_does_not_block_others() {
    let service = Service::with(&[("SYMBOLON_CONCURRENCY_MIN", "64"), ("SYMBOLON_CONCURRENCY_MAX", "64")]).await;
    let token = service.register_and_login("ada").await;
    let bearer = format!("Bearer {token}");
    // Eight streams of a connection are processed concurrently.
    let flood = futures_util::future::join_all((0..24).map(async |_| {
        let mut client = Http2::to(&service, 65_535).await;
        loop {
            let mut responses = Vec::new();
            for _ in 0..16 {
                responses.push(client.begin_with("GET", "/v1/users/me", ("authorization", &bearer), None).await);
            }
            futures_util::future::join_all(responses).await;
        }
    }));
    let other =
        reqwest::Client::builder().local_address(std::net::IpAddr::from([127, 0, 0, 2])).build().expect("a client");
    let served = async {
        until_admission(&service, "the flood is refused", |admission| admission["requests"]["shed"].as_u64() > Some(0))
            .await;
        let mut statuses = Vec::new();
        for _ in 0..100 {
            let request = other.get(format!("{}/v1/users/me", service.url)).bearer_auth(&token);
            statuses.push(request.send().await.expect("a reply").status().as_u16());
        }
        statuses
    };
    let statuses = tokio::select! { statuses = served => statuses, _ = flood => unreachable!("the flood is endless") };
    assert_eq!(statuses, [200; 100]);
}
