//! Kills and faults of every store, under load, against a ledger of acknowledged writes.
//!
//! Clients write all the time and keep what they were told. After each kill, and after each fault that was lifted, the
//! service must say what the ledger says. The environment makes it longer (`make kills`): `KILLS_EMBEDDED` and
//! `KILLS_SERVERS` are how many kills there are, `KILLS_SEED` repeats a run as far as timing allows, and `KILLS_LOG` is
//! what the instances log.

mod check;
mod clients;
mod course;
mod embedded;
mod ledger;
mod probe;
mod servers;
mod tests;

use course::Course;
use embedded::Embedded;
use servers::Servers;

use super::{harness::number, real_stores::TOKEN};

fn kills(name: &str, short: usize) -> usize {
    number(name).map_or(short, |kills| usize::try_from(kills).expect("not so many"))
}

fn seed() -> u64 {
    let seed = number("KILLS_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("KILLS_SEED={seed}");
    seed
}

fn log() -> String {
    std::env::var("KILLS_LOG").unwrap_or_else(|_| "off,audit=off".to_owned())
}

/// Settings of an instance: none is in the way of clients that ask for much from one address.
fn settings<'a>(log: &'a str, stores: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let common = [
        ("SYMBOLON_OPERATOR_TOKEN", TOKEN),
        ("SYMBOLON_LOG", log),
        ("SYMBOLON_THROTTLE_ADDRESS", "1000000/1h"),
        ("SYMBOLON_THROTTLE_NAME_ADDRESS", "1000000/1h"),
        ("SYMBOLON_THROTTLE_NAME", "1000000/1h"),
        ("SYMBOLON_THROTTLE_LOGINS", "1000000/1h"),
        ("SYMBOLON_THROTTLE_REGISTRATIONS", "1000000/1h"),
    ];
    [common.as_slice(), stores].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_on_embedded_storage_is_lost() {
    Course::start(Embedded::new(), seed()).await.run(kills("KILLS_EMBEDDED", 6)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_on_postgres_and_redis_is_lost() {
    let seed = seed();
    Course::start(Servers::new(seed), seed).await.run(kills("KILLS_SERVERS", 3)).await;
}
