//! What a PostgreSQL shard does when an answer takes longer than a request may wait.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use symbolon::{
    breaker::Circuit,
    model::{LoginName, UserId},
    shards::{
        Claim, ShardStore,
        postgres::{PgShard, ShardLimits},
    },
    store_error::StoreError,
};
use symbolon_batcher::BatchLimits;
use uuid::Uuid;

use crate::servers::{postgres::Postgres, proxy::Proxy};

const EPOCH: i64 = 1;
const TIMEOUT: Duration = Duration::from_secs(2);
const LIMITS: ShardLimits =
    ShardLimits { connections: 1, timeout: TIMEOUT, batches: BatchLimits { max_in_flight: 2, max_keys: 64 } };

async fn shard(url: &str) -> PgShard {
    let shard = PgShard::new("shard", url.parse().expect("a URL"), LIMITS);
    shard.prepare(EPOCH).await.expect("a shard");
    shard
}

async fn claimed(shard: &PgShard, name: &str) -> Claim {
    let login_name = LoginName::parse(name).expect("a name");
    let claim = Claim { login_name, user_id: UserId::generate(), claim_id: Uuid::new_v4() };
    assert!(shard.claim_name(EPOCH, &claim).await.expect("an answer"));
    claim
}

async fn find(shard: &PgShard, claim: &Claim) -> Result<Option<Claim>, StoreError> {
    Ok(shard.find_claim(&claim.login_name).await?.map(|stored| stored.claim))
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_not_taken_for_the_next_ones() {
    let server = Postgres::start();
    let line = Proxy::to(server.port());
    let url = server.database("shard").replace(&server.port().to_string(), &line.port().to_string());
    let shard = shard(&url).await;
    let (ada, eve) = (claimed(&shard, "ada").await, claimed(&shard, "eve").await);
    line.silence();
    assert!(matches!(find(&shard, &ada).await, Err(StoreError::Unavailable { .. })));
    line.mend();
    for claim in [&eve, &ada, &eve] {
        assert_eq!(find(&shard, claim).await.expect("an answer").as_ref(), Some(claim));
    }
}

#[tokio::test]
async fn a_request_whose_client_went_away_keeps_no_connection() {
    let server = Postgres::start();
    let line = Proxy::to(server.port());
    let url = server.database("shard").replace(&server.port().to_string(), &line.port().to_string());
    let shard = shard(&url).await;
    let ada = claimed(&shard, "ada").await;
    line.silence();
    // Its only connection is in the middle of a statement when the request is dropped.
    assert!(tokio::time::timeout(TIMEOUT / 10, find(&shard, &ada)).await.is_err());
    line.mend();
    assert_eq!(find(&shard, &ada).await.expect("an answer"), Some(ada));
}

#[tokio::test]
async fn a_wait_for_a_lock_ends_at_the_server_before_the_request_gives_up() {
    let server = Postgres::start();
    let url = server.database("shard");
    let shard = shard(&url).await;
    let ada = claimed(&shard, "ada").await;
    let mut other = PgConnection::connect(&url).await.expect("a connection");
    sqlx::raw_sql("BEGIN; LOCK TABLE login_names").execute(&mut other).await.expect("a lock");
    for _ in 0..4 {
        assert!(matches!(shard.confirm_claim(&ada).await, Err(StoreError::Unavailable { .. })));
        let waiting = server.psql("shard", "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
        assert_eq!(waiting.as_deref(), Ok("0"), "a statement goes on without its request");
    }
    assert_eq!(shard.circuit(), Circuit::Closed, "the server answers, if only that it could not");
    other.close().await.expect("the lock ends");
    assert!(shard.confirm_claim(&ada).await.expect("an answer"));
}

#[tokio::test]
async fn what_was_not_sent_is_told_from_what_may_have_happened() {
    let server = Postgres::start();
    let line = Proxy::to(server.port());
    let url = server.database("shard").replace(&server.port().to_string(), &line.port().to_string());
    let shard = shard(&url).await;
    let ada = claimed(&shard, "ada").await;
    let confirm = async || shard.confirm_claim(&ada).await.expect_err("the line is down").is_without_effect();
    line.silence();
    // The only connection has a statement on it; the other one waits for it in vain.
    let (first, second) = tokio::join!(confirm(), confirm());
    assert_eq!([first, second].iter().filter(|without_effect| **without_effect).count(), 1, "{first} {second}");
    line.mend();
    let mended = || async { shard.confirm_claim(&ada).await.is_ok() };
    crate::service::harness::until("it answers again", mended).await;
    line.cut();
    assert!(!confirm().await, "it was sent on a connection that broke");
    assert!(confirm().await, "no connection can be made");
    assert!(confirm().await, "no connection can be made");
    assert_eq!(shard.circuit(), Circuit::Open);
    assert!(confirm().await, "the circuit is open");
}
