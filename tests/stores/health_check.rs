//! Health checks of databases, by the driver that also checks instances.

use std::{
    future::ready,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection};
use symbolon::health_check::{self, CheckPolicy};
use symbolon_balancer::{Algorithm, Balancer, Caller, Node, NodeSpec, Policy};
use tokio_util::sync::CancellationToken;

use crate::support::{servers::postgres::Postgres, until};

#[tokio::test]
async fn a_hanging_database_is_not_picked_until_it_recovers() {
    let server = Postgres::start();
    let (healthy, paused) = (server.database("healthy"), Postgres::start());
    let urls = [healthy, paused.database("paused")];
    let balancer = Arc::new(Balancer::new(Algorithm::RoundRobin, Policy::default(), Instant::now()));
    let spec = |(id, url): (&str, &String)| NodeSpec {
        id: id.to_owned(),
        url: url.clone(),
        weight: 1,
        max_connections: 10,
        region: String::new(),
        zone: String::new(),
    };
    balancer.set_nodes(["healthy", "paused"].into_iter().zip(&urls).map(spec), Instant::now());
    let policy =
        CheckPolicy { interval: Duration::from_millis(50), timeout: Duration::from_millis(300), fall: 2, rise: 2 };
    let ping = |node: Arc<Node>| async move {
        let mut connection = PgConnection::connect(&node.spec().url).await?;
        connection.ping().await
    };
    let stop = CancellationToken::new();
    let checks = tokio::spawn(health_check::run(Arc::clone(&balancer), policy, ping, stop.clone()));
    let is_healthy = |id: &str| {
        let stats = balancer.nodes().iter().find(|node| node.spec().id == id).expect("a node").stats();
        stats.checked_at.is_some() && stats.healthy
    };
    until("both are healthy", || ready(is_healthy("healthy") && is_healthy("paused"))).await;
    paused.pause();
    until("the paused one is unhealthy", || ready(!is_healthy("paused"))).await;
    assert!(is_healthy("healthy"));
    for _ in 0..4 {
        let lease = balancer.pick(&Caller::default(), Instant::now()).expect("a node");
        assert_eq!(lease.node().spec().id, "healthy");
    }
    paused.resume();
    until("it is healthy again", || ready(is_healthy("paused"))).await;
    stop.cancel();
    checks.await.expect("no panic");
}
