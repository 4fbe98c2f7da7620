//! Embedded storage whose disk fills up, or loses files.

use std::{cell::Cell, sync::Arc};

use serde_json::json;

use super::harness::{DEADLINE, PASSWORD, Service, run, until};

async fn on_a_disk_that_fails() -> Service {
    let data = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    Service::on_a_disk_that_fails(data, &[]).await
}

#[tokio::test]
async fn a_full_disk_costs_writes_only_until_there_is_room_again() {
    let service = on_a_disk_that_fails().await;
    let token = service.member("ada").await;
    let number = Cell::new(0);
    let write = async || {
        number.set(number.get() + 1);
        let patch = service.patch("/v1/users/me/preferences", json!({"number": number.get()})).bearer(&token);
        patch.send().await.status.as_u16()
    };
    let ready = async || service.get("/v1/health/ready").send().await.status.as_u16();
    assert_eq!((write().await, ready().await), (200, 200));
    service.let_files_grow(false);
    for _ in 0..10 {
        assert_eq!(write().await, 503);
        assert_eq!(service.session_status(&token).await, 200, "reading needs no room");
    }
    until("it is not ready", async || ready().await == 503).await;
    service.let_files_grow(true);
    until("writes are taken", async || write().await == 200).await;
    until("it is ready", async || ready().await == 200).await;
    service.login("ada").await;
}

#[tokio::test]
async fn a_disk_that_was_read_only_takes_writes_again() {
    let service = on_a_disk_that_fails().await;
    let tokens = [service.member("ada").await, service.member("eve").await, service.member("bob").await];
    let number = Cell::new(0);
    let write = async |token: &str| {
        number.set(number.get() + 1);
        let patch = service.patch("/v1/users/me/preferences", json!({"number": number.get()})).bearer(token);
        patch.send().await.status.as_u16()
    };
    service.let_disk_be_written(false);
    for token in &tokens {
        // The first of them finds its connection of no use, the others make new ones.
        for _ in 0..3 {
            assert_eq!(write(token).await, 503);
        }
        assert_eq!(service.session_status(token).await, 200, "reading goes on");
    }
    service.let_disk_be_written(true);
    for token in &tokens {
        until("writes are taken", async || write(token).await == 200).await;
    }
    until("logins are taken", async || service.try_login("ada", PASSWORD).await.status == 200).await;
    assert_eq!(service.get("/v1/health/ready").send().await.status, 200);
}

/// Starts the service again on the data of one that has ended, and returns what it is refused with.
async fn refusal(service: &Service) -> String {
    let data = service.data();
    let environment = [("SYMBOLON_LISTEN", "127.0.0.1:0"), ("SYMBOLON_DATA", data.to_str().expect("a path"))];
    let refused = tokio::time::timeout(DEADLINE / 2, run(&[], &environment, b""));
    let (code, _, err) = refused.await.expect("the start is refused");
    assert_eq!(code, 1, "{err}");
    err
}

#[tokio::test]
async fn a_file_that_is_missing_is_not_made_anew() {
    let mut service = Service::start().await;
    service.register("ada").await;
    service.kill().await;
    for name in ["db-node-1.sqlite", "catalog.sqlite"] {
        let (file, aside) = (service.data().join(name), service.data().join("aside"));
        std::fs::rename(&file, &aside).expect("a file");
        let err = refusal(&service).await;
        assert!(err.contains(name) && err.contains("from a backup"), "{err}");
        assert!(!file.exists(), "{name} was made anew");
        std::fs::rename(&aside, &file).expect("a file");
    }
    service.another().await.login("ada").await;
}

#[tokio::test]
async fn an_instance_whose_file_is_taken_away_is_not_ready() {
    let service = Service::start().await;
    let file = service.data().join("db-node-1.sqlite");
    // From here on there is a connection with the file, wherever it goes.
    assert_eq!(service.get("/v1/health/ready").send().await.status, 200);
    std::fs::rename(&file, service.data().join("aside")).expect("a file");
    let ready = service.get("/v1/health/ready").send().await;
    assert_eq!((ready.status.as_u16(), &ready.json()["dependencies"][2]["up"]), (503, &false.into()));
    std::fs::rename(service.data().join("aside"), &file).expect("a file");
    assert_eq!(service.get("/v1/health/ready").send().await.status, 200);
}
