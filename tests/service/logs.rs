//! Warnings at the start of an instance.

use crate::support::{Fleet, LogFile, Service, servers::redis::Redis, until};

/// A warning about a Redis that may lose acknowledged writes.
const RISK: &str = "appendfsync is not always";

#[tokio::test]
async fn an_unsafe_redis_configuration_is_logged_as_a_warning() {
    let fleet = Fleet::start();
    for start in ["on new stores", "on stores that have been used"] {
        for level in ["info,sqlx=warn", "warn"] {
            let log = LogFile::new();
            fleet.instance_logging_to(&log, &[("SYMBOLON_LOG", level)]).await;
            assert!(log.text().contains(RISK), "{start}, with log={level}: {}", log.text());
        }
    }
}

#[tokio::test]
async fn an_unsafe_redis_configuration_is_logged_when_redis_appears_later() {
    let mut redis = Redis::start();
    redis.kill();
    let (log, url) = (LogFile::new(), redis.url());
    let settings = [("SYMBOLON_LOG", "warn"), ("SYMBOLON_REDIS_URL", url.as_str())];
    let _instance = Service::logging_to(&log, &settings).await;
    let warnings = || log.text().matches(RISK).count();
    assert_eq!(warnings(), 0);
    redis.start_again();
    until("the risk is logged", async || warnings() == 1).await;
}
