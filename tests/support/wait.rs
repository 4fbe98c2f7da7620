//! Waiting for a condition, with one deadline for all tests.

use std::time::{Duration, Instant};

/// How long a condition may take to hold, on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
const INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not hold within [`DEADLINE`].
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl FnMut() -> F) {
    assert!(holds_in_time(condition).await, "not within {DEADLINE:?}: {what}");
}

/// Waits until `condition` holds; returns whether it did within [`DEADLINE`].
pub async fn holds_in_time<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) -> bool {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.is_ok()
}

/// Tries until an attempt succeeds; returns its value.
///
/// # Panics
/// If none succeeds within [`DEADLINE`], with the error of the last one.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match in_time(what, attempt()).await {
            Ok(value) => return value,
            Err(error) => assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}: {error}"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// As [`until`], for code that is not async, such as the start of a server.
pub fn block_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(INTERVAL);
    }
}

/// The output of a future.
///
/// # Panics
/// If it is not ready within [`DEADLINE`].
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

/// How much later than its timeout a wait may end on a busy machine: less than the defaults of the tested timeouts.
const LATENESS: Duration = Duration::from_secs(5);

/// Asserts that a wait was ended by a timeout of `timeout`: not before it, and not by something later.
pub fn assert_timed_out(begun: Instant, timeout: Duration) {
    let took = begun.elapsed();
    assert!(took >= timeout, "it ended after {took:?}, before the timeout of {timeout:?}");
    assert!(took < timeout + LATENESS, "it ended after {took:?}, long after the timeout of {timeout:?}");
}

/// Asserts that `condition` holds at every look, for so long.
pub async fn holds_for<F: Future<Output = bool>>(period: Duration, what: &str, mut condition: impl FnMut() -> F) {
    let begun = Instant::now();
    while begun.elapsed() <= period {
        assert!(in_time(what, condition()).await, "no longer after {:?}: {what}", begun.elapsed());
        tokio::time::sleep(INTERVAL).await;
    }
}
