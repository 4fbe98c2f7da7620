//! Health checks of databases: the same driver that asks instances over HTTP.

use std::{
    future::ready,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection};
use symbolon::health_check::{self, Cadence};
use symbolon_balancer::{Algorithm, Balancer, Caller, Node, NodeSpec, Policy};
use tokio_util::sync::CancellationToken;

use crate::{servers::postgres::Postgres, service::harness::until};

#[tokio::test]
async fn a_database_that_hangs_gets_no_requests_until_it_is_back() {
    let server = Postgres::start();
    let (well, paused) = (server.database("well"), Postgres::start());
    let urls = [well, paused.database("paused")];
    let balancer = Arc::new(Balancer::new(Algorithm::RoundRobin, Policy::default(), Instant::now()));
    let spec = |(id, url): (&str, &String)| NodeSpec {
        id: id.to_owned(),
        url: url.clone(),
        weight: 1,
        max_connections: 10,
        region: String::new(),
        zone: String::new(),
    };
    balancer.set_nodes(["well", "paused"].into_iter().zip(&urls).map(spec), Instant::now());
    let cadence =
        Cadence { interval: Duration::from_millis(50), timeout: Duration::from_millis(300), fall: 2, rise: 2 };
    let ping = |node: Arc<Node>| async move {
        let mut connection = PgConnection::connect(&node.spec().url).await?;
        connection.ping().await
    };
    let stop = CancellationToken::new();
    let checks = tokio::spawn(health_check::run(Arc::clone(&balancer), cadence, ping, stop.clone()));
    let healthy = |id: &str| {
        let stats = balancer.nodes().iter().find(|node| node.spec().id == id).expect("a node").stats();
        stats.checked_at.is_some() && stats.healthy
    };
    until("both are well", || ready(healthy("well") && healthy("paused"))).await;
    paused.pause();
    until("one hangs", || ready(!healthy("paused"))).await;
    assert!(healthy("well"));
    for _ in 0..4 {
        let lease = balancer.pick(&Caller::default(), Instant::now()).expect("a node");
        assert_eq!(lease.node().spec().id, "well");
    }
    paused.resume();
    until("it is back", || ready(healthy("paused"))).await;
    stop.cancel();
    checks.await.expect("no panic");
}
