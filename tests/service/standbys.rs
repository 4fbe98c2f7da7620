//! Connections to a server that refuses writes: a PostgreSQL standby, or a Redis replica.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Fleet, Reply, Service,
    fleet::user_on_each_shard,
    servers::{proxy::Proxy, redis::RedisPair},
    until,
};

/// How soon service must be restored.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// An instance whose third shard is behind a proxy, and the token of a user on that shard.
struct Switched {
    fleet: Fleet,
    line: Proxy,
    service: Service,
    token: String,
}

impl Switched {
    /// With a single connection to each shard.
    async fn start() -> Self {
        let mut fleet = Fleet::start();
        let line = Proxy::to(fleet.postgres[1].port());
        fleet.reroute_third_shard(line.port());
        let service = fleet.instance_with(&[("SYMBOLON_SHARD_CONNECTIONS", "1")]).await;
        let names = user_on_each_shard(&service).await;
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
        until("writes are accepted", async || self.write().await == 200).await;
        assert!(begun.elapsed() < BACK_WITHIN, "it took {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn connections_to_a_postgres_standby_are_not_used() {
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
async fn a_read_only_postgres_session_is_replaced_at_the_first_write() {
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
async fn an_outage_of_shared_stores_leaves_an_instance_ready_but_degraded() {
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
    assert_eq!(switched.service.metric("symbolon_degraded").await, 1.0);
    assert_eq!(switched.service.metric("symbolon_dependency_up{dependency=\"shared\"}").await, 0.0);
    switched.fleet.postgres.iter().for_each(|server| server.resume());
    switched.fleet.redis.resume();
    // Metrics are updated without requests for readiness.
    until("the metric is 0 again", async || switched.service.metric("symbolon_degraded").await == 0.0).await;
}

/// An instance with sessions in a Redis behind a proxy, and the token of a user.
async fn behind_proxy(line: &Proxy) -> (Service, String) {
    let service = Service::with(&[("SYMBOLON_REDIS_URL", &format!("redis://127.0.0.1:{}", line.port()))]).await;
    let token = service.register_and_login("ada").await;
    (service, token)
}

async fn assert_sessions_are_back(service: &Service, token: &str) {
    let begun = Instant::now();
    until("the session is known", async || service.session_status(token).await == 200).await;
    until("a logout is accepted", async || {
        let logout = service.log_out(token).await;
        logout.status == 204
    })
    .await;
    assert!(begun.elapsed() < BACK_WITHIN, "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn connections_to_a_redis_replica_are_not_used() {
    let pair = RedisPair::start();
    let line = Proxy::to(pair.primary.port());
    let (service, token) = behind_proxy(&line).await;
    line.switch(pair.replica.port());
    for _ in 0..10 {
        assert_eq!(service.session_status(&token).await, 503, "a replica may be behind");
    }
    line.redirect(pair.primary.port());
    assert_sessions_are_back(&service, &token).await;
}

#[tokio::test]
async fn connections_to_a_demoted_redis_are_replaced() {
    let pair = RedisPair::start();
    let line = Proxy::to(pair.primary.port());
    let (service, token) = behind_proxy(&line).await;
    let port = pair.replica.port().to_string();
    until("the replica has the session", async || {
        pair.replica.command(&["dbsize"]) == pair.primary.command(&["dbsize"])
    })
    .await;
    assert_eq!(pair.replica.command(&["replicaof", "no", "one"]), "OK");
    line.redirect(pair.replica.port());
    // The connections to the former primary stay open.
    assert_eq!(pair.primary.command(&["replicaof", "127.0.0.1", &port]), "OK");
    assert_sessions_are_back(&service, &token).await;
}
