//! What is too much is refused, at once; health and operators get in all the same.

use std::{str::FromStr, time::Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    harness::{DEADLINE, PASSWORD, Service, until},
    http2::Http2,
};

/// One place for each class.
const ONE: [(&str, &str); 2] = [("SYMBOLON_ADMISSION_MIN", "1"), ("SYMBOLON_ADMISSION_MAX", "1")];

async fn admission(service: &Service) -> Value {
    let reply = service.operator(Method::GET, "/stats").send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["admission"].clone()
}

async fn until_admission(service: &Service, what: &str, holds: impl Fn(&Value) -> bool) {
    until(what, async || holds(&admission(service).await)).await;
}

/// All shards' writers, so that changes of users wait. Dropping them lets go.
async fn hold_writers(service: &Service) -> Vec<SqliteConnection> {
    let mut held = Vec::new();
    for shard in ["db-node-0", "db-node-1", "db-node-2"] {
        let path = service.data().join(format!("{shard}.sqlite"));
        let options = SqliteConnectOptions::from_str(path.to_str().expect("a path")).expect("options");
        let mut connection = SqliteConnection::connect_with(&options).await.expect("a connection");
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.expect("the writer's turn");
        held.push(connection);
    }
    held
}

fn adds_up(class: &Value) -> bool {
    let number = |name: &str| class[name].as_u64().expect("a number");
    number("offered") == number("admitted") + number("shed") + number("abandoned") + number("waiting")
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_health_and_operators_never() {
    let service = Service::with(&ONE).await;
    let token = service.member("ada").await;
    let writers = hold_writers(&service).await;
    let change = tokio::spawn(service.patch("/v1/users/me/preferences", json!({"a": 1})).bearer(&token).send());
    until_admission(&service, "the change has the place", |admission| admission["requests"]["in_flight"] == 1).await;
    for path in ["/v1/session", "/v1/users/me", "/v1/sessions"] {
        let begun = Instant::now();
        let reply = service.get(path).bearer(&token).send().await;
        reply.problem(503, "overloaded");
        assert_eq!(reply.header("retry-after"), "1");
        assert_eq!(reply.header("x-request-id").len(), 36);
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert!(begun.elapsed() < DEADLINE / 10, "it took {:?}", begun.elapsed());
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
async fn who_goes_away_takes_no_place_along() {
    let service = Service::with(&ONE).await;
    let token = service.member("ada").await;
    let writers = hold_writers(&service).await;
    let change = tokio::spawn(service.patch("/v1/users/me/preferences", json!({"a": 1})).bearer(&token).try_send());
    until_admission(&service, "the change has the place", |admission| admission["requests"]["in_flight"] == 1).await;
    change.abort();
    // It goes on, and has its place until it has ended.
    let waiting = service.get("/v1/session").bearer(&token).send().await;
    waiting.problem(503, "overloaded");
    until("one goes away while it waits", async || {
        let queued = admission(&service).await["requests"]["queued"].clone();
        let request = tokio::spawn(service.get("/v1/session").bearer(&token).try_send());
        until_admission(&service, "it waits", |admission| admission["requests"]["queued"] != queued).await;
        request.abort();
        admission(&service).await["requests"]["abandoned"] != 0
    })
    .await;
    drop(writers);
    until_admission(&service, "every place is free", |admission| {
        admission["requests"]["in_flight"] == 0 && admission["requests"]["waiting"] == 0
    })
    .await;
    let changed = service.get("/v1/users/me/preferences").bearer(&token).send().await;
    assert_eq!(changed.json(), json!({"a": 1}));
    let requests = admission(&service).await["requests"].clone();
    assert!(adds_up(&requests), "{requests}");
}

#[tokio::test]
async fn a_body_that_does_not_come_takes_no_place() {
    let service = Service::with(&ONE).await;
    service.register("ada").await;
    let mut slow = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(service.url.trim_start_matches("http://")).await.expect("a connection");
        let head =
            "POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.expect("written");
        slow.push(stream);
    }
    until_admission(&service, "all have come", |admission| {
        admission["logins"]["offered"] == 6 && admission["logins"]["in_flight"] == 0
    })
    .await;
    service.login("ada").await;
    // One of them goes on, and is answered.
    let mut stream = slow.pop().expect("one");
    let body = json!({"login_name": "ada", "password": PASSWORD}).to_string();
    let rest = format!("{:<59}", &body[1..]);
    stream.write_all(rest.as_bytes()).await.expect("written");
    let mut answer = [0; 12];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop((slow, stream));
    until_admission(&service, "every place is free", |admission| admission["logins"]["in_flight"] == 0).await;
    let logins = admission(&service).await["logins"].clone();
    assert!(adds_up(&logins) && logins["shed"] == 0, "{logins}");
}

#[tokio::test]
async fn switched_off_nothing_is_refused() {
    let service = Service::with(&[("SYMBOLON_ADMISSION", "off"), ONE[0], ONE[1]]).await;
    let token = service.member("ada").await;
    let writers = hold_writers(&service).await;
    let changes: Vec<_> = (0..20)
        .map(|_| tokio::spawn(service.patch("/v1/users/me/preferences", json!({"a": 1})).bearer(&token).send()))
        .collect();
    until_admission(&service, "all are under way", |admission| admission["requests"]["in_flight"] == 20).await;
    assert_eq!(service.session_status(&token).await, 200);
    drop(writers);
    for change in changes {
        assert_ne!(change.await.expect("no panic").status, 503);
    }
    let admission = admission(&service).await;
    assert_eq!((&admission["enabled"], &admission["requests"]["limit"]), (&json!(false), &json!(null)));
}

#[tokio::test]
async fn a_client_with_many_requests_at_a_time_refuses_no_other() {
    let service = Service::with(&[("SYMBOLON_ADMISSION_MIN", "64"), ("SYMBOLON_ADMISSION_MAX", "64")]).await;
    let token = service.member("ada").await;
    let bearer = format!("Bearer {token}");
    // Of one connection eight streams are worked on at a time.
    let flood = futures_util::future::join_all((0..24).map(async |_| {
        let mut client = Http2::with(&service, 65_535).await;
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
    let calm = async {
        until_admission(&service, "some wait", |admission| admission["requests"]["shed"].as_u64() > Some(0)).await;
        let mut statuses = Vec::new();
        for _ in 0..100 {
            let request = other.get(format!("{}/v1/users/me", service.url)).bearer_auth(&token);
            statuses.push(request.send().await.expect("a reply").status().as_u16());
        }
        statuses
    };
    let statuses = tokio::select! { statuses = calm => statuses, _ = flood => unreachable!("it has no end") };
    assert_eq!(statuses, [200; 100]);
}
