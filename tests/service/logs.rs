//! What an instance says in its log.

use super::real_stores::Fleet;

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
