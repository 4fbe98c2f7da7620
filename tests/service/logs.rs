//! What an instance says in its log.

use super::{
    harness::{Service, until},
    real_stores::Fleet,
};
use crate::servers::redis::Redis;

const RISK: &str = "appendfsync is not always";

#[tokio::test]
async fn a_start_that_logs_warnings_only_says_what_redis_is_set_up_to_lose() {
    let fleet = Fleet::start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    for start in ["on new stores", "on stores that have been used"] {
        for level in ["info,sqlx=warn", "warn"] {
            let log = directory.path().join(level);
            fleet.instance_logging_to(&log, &[("SYMBOLON_LOG", level)]).await;
            let lines = std::fs::read_to_string(&log).expect("a log");
            assert!(lines.contains(RISK), "{start}, with log={level}: {lines}");
        }
    }
}

#[tokio::test]
async fn what_redis_is_set_up_to_lose_is_said_when_it_comes_later_than_the_instance() {
    let mut redis = Redis::start();
    redis.kill();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (log, url) = (directory.path().join("log"), redis.url());
    let settings = [("SYMBOLON_LOG", "warn"), ("SYMBOLON_REDIS_URL", url.as_str())];
    let _instance = Service::logging_to(&log, &settings).await;
    let said = || std::fs::read_to_string(&log).expect("a log").matches(RISK).count();
    assert_eq!(said(), 0);
    redis.start_again();
    until("it is said", async || said() == 1).await;
}
