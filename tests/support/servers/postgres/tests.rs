//! Tests of the servers themselves.

use super::Postgres;
use crate::support::block_until;

#[test]
fn a_replica_follows_its_primary_and_refuses_writes_until_promoted() {
    let mut primary = Postgres::start();
    primary.database("app");
    primary.psql("app", "CREATE TABLE seen (number int)").expect("a table");
    let replica = primary.replica();
    primary.psql("app", "INSERT INTO seen VALUES (7)").expect("a write");
    block_until("the replica has the row", || {
        replica.psql("app", "SELECT number FROM seen").is_ok_and(|number| number == "7")
    });
    let refused = replica.psql("app", "INSERT INTO seen VALUES (8)").expect_err("a refusal");
    assert!(refused.contains("read-only"), "{refused}");
    primary.kill();
    replica.promote();
    replica.psql("app", "INSERT INTO seen VALUES (8)").expect("a write");
    assert_eq!(replica.psql("app", "SELECT sum(number) FROM seen").as_deref(), Ok("15"));
}

#[test]
fn a_stopped_or_killed_server_has_its_data_after_a_restart() {
    let mut server = Postgres::start();
    server.psql("postgres", "CREATE TABLE kept ()").expect("a table");
    server.stop();
    assert!(server.psql("postgres", "SELECT 1").is_err());
    server.start_again();
    server.psql("postgres", "TABLE kept").expect("the table");
    server.kill();
    assert!(server.psql("postgres", "SELECT 1").is_err());
    server.start_again();
    server.psql("postgres", "TABLE kept").expect("the table");
}
