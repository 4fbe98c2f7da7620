//! Kills of instances and stores, and faults of stores, under load.
//!
//! Clients write all the time and record the acknowledged writes in a ledger. After each kill and each fault, reads must agree
//! with the ledger. Environment variables make a run longer (`make kills`): `KILLS_EMBEDDED` and `KILLS_SERVERS` are the
//! numbers of kills, `KILLS_SEED` is the random seed, which repeats a run as far as timing allows, and `KILLS_LOG` is the log
//! filter of the instances.

mod check;
mod clients;
mod embedded;
mod fault_run;
mod ledger;
mod probe;
mod servers;
mod tests;

use crate::support::env_number;
use embedded::Embedded;
use fault_run::FaultRun;
use servers::Servers;

fn kills(name: &str, short: usize) -> usize {
    env_number(name).map_or(short, |kills| usize::try_from(kills).expect("not so many"))
}

fn random_seed() -> u64 {
    let seed = env_number("KILLS_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("KILLS_SEED={seed}");
    seed
}

fn log() -> String {
    std::env::var("KILLS_LOG").unwrap_or_else(|_| "off,audit=off".to_owned())
}

/// The settings of an instance, whose throttle is not in the way of many requests from one address.
fn settings<'a>(log: &'a str, stores: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let common = [
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
async fn acknowledged_writes_on_embedded_storage_are_not_lost() {
    FaultRun::start(Embedded::new(), random_seed()).await.run(kills("KILLS_EMBEDDED", 6)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_on_postgres_and_redis_are_not_lost() {
    let seed = random_seed();
    FaultRun::start(Servers::new(seed), seed).await.run(kills("KILLS_SERVERS", 3)).await;
}
