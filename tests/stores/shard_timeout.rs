//! Timeouts of a PostgreSQL shard.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use symbolon::{
    breaker::Circuit,
    shards::{
        Claim, ShardStore,
        postgres::{PgShard, ShardLimits},
    },
    store_error::StoreError,
};
use symbolon_batcher::BatchLimits;

use crate::support::{
    rows::claimed,
    servers::{postgres::Postgres, proxy::Proxy},
    until,
};

const EPOCH: i64 = 1;
const TIMEOUT: Duration = Duration::from_secs(2);
const LIMITS: ShardLimits =
    ShardLimits { connections: 1, timeout: TIMEOUT, batches: BatchLimits { max_in_flight: 2, max_keys: 64 } };

/// A shard whose only connection goes through a proxy.
async fn proxied(server: &Postgres) -> (Proxy, PgShard) {
    let line = Proxy::to(server.port());
    let url = server.database("shard").replace(&server.port().to_string(), &line.port().to_string());
    let shard = shard(&url).await;
    (line, shard)
}

async fn shard(url: &str) -> PgShard {
    let shard = PgShard::new("shard", url.parse().expect("a URL"), LIMITS);
    shard.prepare(EPOCH).await.expect("a shard");
    shard
}

async fn find(shard: &PgShard, claim: &Claim) -> Result<Option<Claim>, StoreError> {
    Ok(shard.find_claim(&claim.login_name).await?.map(|stored| stored.claim))
}

#[tokio::test]
async fn a_late_answer_is_not_taken_for_a_later_statements() {
    let server = Postgres::start();
    let (line, shard) = proxied(&server).await;
    let (ada, eve) = (claimed(&shard, EPOCH, "ada").await, claimed(&shard, EPOCH, "eve").await);
    line.silence();
    assert!(matches!(find(&shard, &ada).await, Err(StoreError::Unavailable { .. })));
    line.mend();
    for claim in [&eve, &ada, &eve] {
        assert_eq!(find(&shard, claim).await.expect("an answer").as_ref(), Some(claim));
    }
}

#[tokio::test]
async fn a_cancelled_lookup_frees_its_connection() {
    let server = Postgres::start();
    let (line, shard) = proxied(&server).await;
    let ada = claimed(&shard, EPOCH, "ada").await;
    line.silence();
    // The lookup is dropped while its statement is on the only connection.
    assert!(tokio::time::timeout(TIMEOUT / 10, find(&shard, &ada)).await.is_err());
    line.mend();
    assert_eq!(find(&shard, &ada).await.expect("an answer"), Some(ada));
}

#[tokio::test]
async fn a_lock_wait_ends_at_the_server_before_the_timeout() {
    let server = Postgres::start();
    let url = server.database("shard");
    let shard = shard(&url).await;
    let ada = claimed(&shard, EPOCH, "ada").await;
    let mut other = PgConnection::connect(&url).await.expect("a connection");
    sqlx::raw_sql("BEGIN; LOCK TABLE login_names").execute(&mut other).await.expect("a lock");
    for _ in 0..4 {
        assert!(matches!(shard.confirm_claim(&ada).await, Err(StoreError::Unavailable { .. })));
        let waiting = server.psql("shard", "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
        assert_eq!(waiting.as_deref(), Ok("0"), "a statement runs on without its request");
    }
    assert_eq!(shard.circuit(), Circuit::Closed, "the server has answered, with an error");
    other.close().await.expect("the lock ends");
    assert!(shard.confirm_claim(&ada).await.expect("an answer"));
}

#[tokio::test]
async fn unsent_statements_are_reported_as_without_effect() {
    let server = Postgres::start();
    let (line, shard) = proxied(&server).await;
    let ada = claimed(&shard, EPOCH, "ada").await;
    let confirm = async || shard.confirm_claim(&ada).await.expect_err("an error").is_without_effect();
    line.silence();
    // One statement is on the only connection; the other one waits for that connection.
    let (first, second) = tokio::join!(confirm(), confirm());
    assert_eq!([first, second].iter().filter(|without_effect| **without_effect).count(), 1, "{first} {second}");
    line.mend();
    until("the shard answers again", async || shard.confirm_claim(&ada).await.is_ok()).await;
    line.cut();
    assert!(!confirm().await, "it was sent on a connection that broke");
    assert!(confirm().await, "no connection can be made");
    assert!(confirm().await, "no connection can be made");
    assert_eq!(shard.circuit(), Circuit::Open);
    assert!(confirm().await, "the circuit is open");
}
