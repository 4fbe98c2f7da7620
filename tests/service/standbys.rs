//! Connections that reach a server which takes no writes: a standby of PostgreSQL, a replica of Redis.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::{
    harness::{Reply, Service, until},
    real_stores::{Fleet, TOKEN, one_on_each},
};
use crate::servers::{proxy::Proxy, redis::RedisPair};

/// What service may take to come back.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// An instance whose third shard is behind a line, and the token of a user there.
struct Switched {
    fleet: Fleet,
    line: Proxy,
    service: Service,
    token: String,
}

impl Switched {
    /// With one connection to each shard, which is used by whatever comes next.
    async fn start() -> Self {
        let mut fleet = Fleet::start();
        let line = Proxy::to(fleet.postgres[1].port());
        fleet.shards = fleet.shards.replace(&format!(":{}/", fleet.postgres[1].port()), &format!(":{}/", line.port()));
        let service = fleet.instance_with(&[("SYMBOLON_SHARD_CONNECTIONS", "1")]).await;
        let names = one_on_each(&service).await;
        let token = service.login(&names[2]).await;
        Self { fleet, line, service, token }
    }

    async fn read(&self) -> u16 {
        self.service.get("/v1/users/me").bearer(&self.token).send().await.status.as_u16()
    }

    async fn write(&self) -> u16 {
        let patch = json!({"id": uuid::Uuid::new_v4()});
        let request = self.service.patch("/v1/users/me/preferences", patch).bearer(&self.token);
        request.send().await.status.as_u16()
    }

    async fn assert_writes_are_back(&self) {
        let begun = Instant::now();
        until("writes are taken", async || self.write().await == 200).await;
        assert!(begun.elapsed() < BACK_WITHIN, "it took {:?}", begun.elapsed());
    }

    async fn metric(&self, name: &str) -> Option<String> {
        let text = self.service.get("/metrics").bearer(TOKEN).send().await.text;
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit_once(' ').map(|(_, value)| value.to_owned())
    }
}

#[tokio::test]
async fn a_standby_behind_the_address_of_a_shard_is_neither_read_nor_kept() {
    let switched = Switched::start().await;
    let standby = switched.fleet.postgres[1].replica();
    switched.line.switch(standby.port());
    for _ in 0..10 {
        assert_eq!((switched.read().await, switched.write().await), (503, 503), "a standby may be behind");
    }
    switched.line.redirect(switched.fleet.postgres[1].port());
    switched.assert_writes_are_back().await;
    assert_eq!(switched.read().await, 200);
}

#[tokio::test]
async fn a_session_that_may_only_read_is_given_up_at_the_first_write() {
    let switched = Switched::start().await;
    let server = &switched.fleet.postgres[1];
    server.psql("postgres", "ALTER DATABASE shard2 SET default_transaction_read_only = on").expect("a setting");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shard2'";
    server.psql("postgres", end).expect("its sessions end");
    until("reads are served by a new session", async || switched.read().await == 200).await;
    server.psql("postgres", "ALTER DATABASE shard2 RESET default_transaction_read_only").expect("no setting");
    switched.assert_writes_are_back().await;
}

#[tokio::test]
async fn a_fault_that_others_share_leaves_an_instance_ready_and_degraded() {
    let switched = Switched::start().await;
    let ready = async || switched.service.get("/v1/health/ready").send().await;
    assert_eq!(ready().await.json()["degraded"], false);
    switched.fleet.postgres.iter().for_each(|server| server.pause());
    switched.fleet.redis.pause();
    let body: Reply = ready().await;
    assert_eq!(body.status, 200, "{}", body.text);
    let body = body.json();
    assert_eq!((&body["ready"], &body["degraded"]), (&true.into(), &true.into()));
    let down = |name: &str| {
        let all = body["dependencies"].as_array().expect("a list");
        all.iter().any(|one| one["name"] == name && one["up"] == false && one["required"] == false)
    };
    assert!(["shared", "db-node-0", "db-node-1", "db-node-2"].into_iter().all(down), "{body}");
    assert_eq!(switched.metric("symbolon_degraded ").await.as_deref(), Some("1.0"));
    assert_eq!(switched.metric("symbolon_dependency_up{dependency=\"shared\"}").await.as_deref(), Some("0.0"));
    switched.fleet.postgres.iter().for_each(|server| server.resume());
    switched.fleet.redis.resume();
    // Nobody asks for readiness here: the metrics find out by themselves.
    until("the metric is back", async || switched.metric("symbolon_degraded ").await.as_deref() == Some("0.0")).await;
}

/// An instance with sessions in a Redis behind a line, and the token of a user.
async fn on_line(line: &Proxy) -> (Service, String) {
    let service = Service::with(&[("SYMBOLON_REDIS_URL", &format!("redis://127.0.0.1:{}", line.port()))]).await;
    let token = service.member("ada").await;
    (service, token)
}

async fn assert_sessions_are_back(service: &Service, token: &str) {
    let begun = Instant::now();
    until("the session is known", async || service.session_status(token).await == 200).await;
    until("a logout is taken", async || {
        let logout = service.request(Method::POST, "/v1/logout").bearer(token).send().await;
        logout.status == 204
    })
    .await;
    assert!(begun.elapsed() < BACK_WITHIN, "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_replica_behind_the_address_of_redis_is_neither_read_nor_kept() {
    let pair = RedisPair::start();
    let line = Proxy::to(pair.primary.port());
    let (service, token) = on_line(&line).await;
    line.switch(pair.replica.port());
    for _ in 0..10 {
        assert_eq!(service.session_status(&token).await, 503, "a replica may be behind");
    }
    line.redirect(pair.primary.port());
    assert_sessions_are_back(&service, &token).await;
}

#[tokio::test]
async fn a_redis_that_is_made_a_replica_is_left_for_the_new_primary() {
    let pair = RedisPair::start();
    let line = Proxy::to(pair.primary.port());
    let (service, token) = on_line(&line).await;
    let port = pair.replica.port().to_string();
    until("the replica has the session", async || {
        pair.replica.command(&["dbsize"]) == pair.primary.command(&["dbsize"])
    })
    .await;
    assert_eq!(pair.replica.command(&["replicaof", "no", "one"]), "OK");
    line.redirect(pair.replica.port());
    // Its connections stay.
    assert_eq!(pair.primary.command(&["replicaof", "127.0.0.1", &port]), "OK");
    assert_sessions_are_back(&service, &token).await;
}
