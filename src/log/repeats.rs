//! Log lines for failures that every request may repeat: one at once, and then one with a count every ten seconds.
//!
//! Each kind of failure is a static, so there are only so many; what is counted costs two atomic operations and no lock.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::sync::MutexExt;
use tokio_util::sync::CancellationToken;

/// How long repetitions are counted before a line tells of them.
const INTERVAL: Duration = Duration::from_secs(10);

/// All kinds that have occurred, to be looked through every [`INTERVAL`].
static OCCURRED: Mutex<Vec<&'static Repeats>> = Mutex::new(Vec::new());

/// One kind of failure.
#[derive(Debug)]
pub struct Repeats {
    /// Writes the line that tells how often it was repeated.
    write: fn(u64),
    /// Whether a line was written in this interval or in the one before.
    written: AtomicBool,
    counted: AtomicU64,
    registered: AtomicBool,
}

impl Repeats {
    /// A kind whose repetitions `write` tells of.
    pub const fn new(write: fn(u64)) -> Self {
        Self { write, written: AtomicBool::new(false), counted: AtomicU64::new(0), registered: AtomicBool::new(false) }
    }

    /// Notes that it occurred: `log` writes the line unless one was written just before. Returns how many had been counted, if
    /// it is only counted.
    pub fn record(&'static self, log: impl FnOnce()) -> Option<u64> {
        if self.written.swap(true, Ordering::AcqRel) {
            return Some(self.counted.fetch_add(1, Ordering::AcqRel));
        }
        if !self.registered.swap(true, Ordering::AcqRel) {
            OCCURRED.locked().push(self);
        }
        log();
        None
    }

    /// Tells of what was counted. Without any, the next occurrence is written at once.
    fn flush(&self) {
        match self.counted.swap(0, Ordering::AcqRel) {
            0 => self.written.store(false, Ordering::Release),
            count => (self.write)(count),
        }
    }
}

/// Tells of what was counted every ten seconds, and when `stop` is cancelled.
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

    /// What was written of [`FAILURE`]: each line and how many it tells of.
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
        assert_eq!(lines(), [0; 0], "it goes on");
        tokio::time::sleep(INTERVAL).await;
        assert_eq!(lines(), [7]);
        tokio::time::sleep(INTERVAL).await;
        assert_eq!(lines(), [0; 0]);
        fail(2);
        assert_eq!(lines(), [1], "it had ended");
        stop.cancel();
        running.await.expect("no panic");
        assert_eq!(lines(), [1], "nothing is lost at the end");
    }
}
