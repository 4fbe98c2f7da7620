//! Shards behind PgBouncer.

use serde_json::json;

use crate::support::{Fleet, fleet::user_on_each_shard, servers::pgbouncer::PgBouncer};

#[tokio::test]
async fn shards_are_served_through_pgbouncer_in_session_mode() {
    let mut fleet = Fleet::start();
    // With this default, inserts are refused unless the service's session settings reach the server.
    for (server, database) in [(0, "shard0"), (0, "shard1"), (1, "shard2")] {
        let default = format!("ALTER DATABASE {database} SET default_transaction_isolation = 'repeatable read'");
        fleet.postgres[server].psql("postgres", &default).expect("a setting");
    }
    let pools = [PgBouncer::before(&fleet.postgres[0]), PgBouncer::before(&fleet.postgres[1])];
    for (server, pool) in fleet.postgres.iter().zip(&pools) {
        fleet.shards = fleet.shards.replace(&format!(":{}/", server.port()), &format!(":{}/", pool.port()));
    }
    let service = fleet.instance().await;
    for name in user_on_each_shard(&service).await {
        let token = service.login(&name).await;
        let patched = service.patch("/v1/users/me/preferences", json!({"a": 1})).bearer(&token).send().await;
        assert_eq!(patched.status, 200, "{}", patched.text);
    }
    assert_eq!(service.get("/v1/health/ready").send().await.json()["degraded"], false);
}
