//! Embedded storage on a disk that is full or read-only, or that has lost files.

use std::{cell::Cell, sync::Arc};

use serde_json::json;

use crate::support::{PASSWORD, Service, run, temporary_directory, until};

async fn on_failing_disk() -> Service {
    Service::on_failing_disk(Arc::new(temporary_directory()), &[]).await
}

#[tokio::test]
async fn a_full_disk_refuses_only_writes() {
    let service = on_failing_disk().await;
    let token = service.register_and_login("ada").await;
    let number = Cell::new(0);
    let write = async || {
        number.set(number.get() + 1);
        let patch = service.patch("/v1/users/me/preferences", json!({"number": number.get()})).bearer(&token);
        patch.send().await.status.as_u16()
    };
    let ready = async || service.get("/v1/health/ready").send().await.status.as_u16();
    assert_eq!((write().await, ready().await), (200, 200));
    service.set_files_growable(false);
    for _ in 0..10 {
        assert_eq!(write().await, 503);
        assert_eq!(service.session_status(&token).await, 200, "a read was refused");
    }
    until("the instance is not ready", async || ready().await == 503).await;
    service.set_files_growable(true);
    until("writes are accepted", async || write().await == 200).await;
    until("it is ready", async || ready().await == 200).await;
    service.login("ada").await;
}

#[tokio::test]
async fn a_formerly_read_only_disk_accepts_writes() {
    let service = on_failing_disk().await;
    let tokens = [
        service.register_and_login("ada").await,
        service.register_and_login("eve").await,
        service.register_and_login("bob").await,
    ];
    let number = Cell::new(0);
    let write = async |token: &str| {
        number.set(number.get() + 1);
        let patch = service.patch("/v1/users/me/preferences", json!({"number": number.get()})).bearer(token);
        patch.send().await.status.as_u16()
    };
    service.set_disk_writable(false);
    for token in &tokens {
        // The first finds its open connection unusable, and the others open new ones.
        for _ in 0..3 {
            assert_eq!(write(token).await, 503);
        }
        assert_eq!(service.session_status(token).await, 200, "a read was refused");
    }
    service.set_disk_writable(true);
    for token in &tokens {
        until("writes are accepted", async || write(token).await == 200).await;
    }
    until("logins are accepted", async || service.try_login("ada", PASSWORD).await.status == 200).await;
    assert_eq!(service.get("/v1/health/ready").send().await.status, 200);
}

/// Starts an instance on the data of one that has ended; returns the error with which the start is refused.
async fn refusal(service: &Service) -> String {
    let data = service.data();
    let environment = [("SYMBOLON_LISTEN", "127.0.0.1:0"), ("SYMBOLON_DATA_DIR", data.to_str().expect("a path"))];
    let (code, _, err) = run(&[], &environment, b"").await;
    assert_eq!(code, 1, "{err}");
    err
}

#[tokio::test]
async fn a_missing_file_is_not_created_again() {
    let mut service = Service::start().await;
    service.register("ada").await;
    service.kill().await;
    for name in ["db-node-1.sqlite", "catalog.sqlite"] {
        let (file, aside) = (service.data().join(name), service.data().join("aside"));
        std::fs::rename(&file, &aside).expect("a file");
        let err = refusal(&service).await;
        assert!(err.contains(name) && err.contains("from a backup"), "{err}");
        assert!(!file.exists(), "{name} was created again");
        std::fs::rename(&aside, &file).expect("a file");
    }
    service.another().await.login("ada").await;
}

#[tokio::test]
async fn an_instance_without_a_shard_file_is_not_ready() {
    let service = Service::start().await;
    let file = service.data().join("db-node-1.sqlite");
    // The readiness check has opened a connection, which follows the file when it is renamed.
    assert_eq!(service.get("/v1/health/ready").send().await.status, 200);
    std::fs::rename(&file, service.data().join("aside")).expect("a file");
    let ready = service.get("/v1/health/ready").send().await;
    assert_eq!((ready.status.as_u16(), &ready.json()["dependencies"][2]["up"]), (503, &false.into()));
    std::fs::rename(service.data().join("aside"), &file).expect("a file");
    assert_eq!(service.get("/v1/health/ready").send().await.status, 200);
}
