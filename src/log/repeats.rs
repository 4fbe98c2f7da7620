//! Rate limiting of log lines for failures that every request may repeat: the first is logged at once, the others as a count
//! every ten seconds.
//!
//! Each kind of failure is a static, so their number is bounded. Counting costs two atomic operations and no lock.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::sync::MutexExt;
use tokio_util::sync::CancellationToken;

/// How often counts are logged.
const INTERVAL: Duration = Duration::from_secs(10);

/// All kinds that have occurred. They are flushed every `INTERVAL`.
static OCCURRED: Mutex<Vec<&'static Repeats>> = Mutex::new(Vec::new());

/// One kind of failure.
#[derive(Debug)]
pub struct Repeats {
    /// Logs how often the failure was repeated.
    log_count: fn(u64),
    /// Whether a line was logged in this interval or in the previous one.
    logged: AtomicBool,
    counted: AtomicU64,
    registered: AtomicBool,
}

impl Repeats {
    /// Creates a kind of failure. `log_count` logs how often it was repeated.
    pub const fn new(log_count: fn(u64)) -> Self {
        Self {
            log_count,
            logged: AtomicBool::new(false),
            counted: AtomicU64::new(0),
            registered: AtomicBool::new(false),
        }
    }

    /// Records one occurrence. Calls `log` if no line was logged recently. Otherwise counts the occurrence and returns the
    /// previous count.
    pub fn record(&'static self, log: impl FnOnce()) -> Option<u64> {
        if self.logged.swap(true, Ordering::AcqRel) {
            return Some(self.counted.fetch_add(1, Ordering::AcqRel));
        }
        if !self.registered.swap(true, Ordering::AcqRel) {
            OCCURRED.locked().push(self);
        }
        log();
        None
    }

    /// Logs the count and resets it. If it is zero, the next occurrence is logged at once.
    fn flush(&self) {
        match self.counted.swap(0, Ordering::AcqRel) {
            0 => self.logged.store(false, Ordering::Release),
            count => (self.log_count)(count),
        }
    }
}

/// Logs the counts every `INTERVAL`, and once more when `stop` is cancelled.
pub async fn run(stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
        flush();
    }
    flush();
}

fn flush() {
    let occurred = OCCURRED.locked().clone();
    occurred.into_iter().for_each(Repeats::flush);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines logged for [`FAILURE`]: the number of failures that each reports.
    static LINES: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    static FAILURE: Repeats = Repeats::new(line);

    fn line(count: u64) {
        LINES.lock().expect("no panic").push(count);
    }

    fn fail(times: usize) {
        for _ in 0..times {
            FAILURE.record(|| line(1));
        }
    }

    fn lines() -> Vec<u64> {
        std::mem::take(&mut *LINES.lock().expect("no panic"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_logged_at_once_and_then_counted_every_ten_seconds() {
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(stop.clone()));
        fail(32_000);
        assert_eq!(lines(), [1]);
        tokio::time::sleep(INTERVAL + Duration::from_millis(1)).await;
        assert_eq!(lines(), [31_999]);
        fail(7);
        assert_eq!(lines(), [0; 0], "it is still counted");
        tokio::time::sleep(INTERVAL).await;
        assert_eq!(lines(), [7]);
        tokio::time::sleep(INTERVAL).await;
        assert_eq!(lines(), [0; 0]);
        fail(2);
        assert_eq!(lines(), [1], "a new failure is logged at once");
        stop.cancel();
        running.await.expect("no panic");
        assert_eq!(lines(), [1], "the last count is logged at the end");
    }
}
