//! Timers that a connection uses again and again.
//!
//! Nearly no timer of a request ever ends. To make one and to drop it takes a lock of the runtime's both times, which all its
//! workers share; to move one to later takes none. So a connection keeps its timers, registered as they are, for its next
//! request. One that ends while nobody waits for it wakes the connection once, for nothing; with HTTP/2 it keeps what is left of
//! the request's task until then, of one request a connection.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::sync::MutexExt;
use tokio::time::Sleep;

/// A place for a timer, and the timer when it is not in use; clones share it. All uses should be for about the same time:
/// moving a timer to earlier costs as much as making one.
#[derive(Debug, Clone, Default)]
pub struct SpareTimer(Arc<Mutex<Option<Pin<Box<Sleep>>>>>);

impl SpareTimer {
    /// A timer that ends at `deadline`: the spare one if nobody uses it, else a new one.
    pub fn until(&self, deadline: Instant) -> Timer {
        let spare = self.place().take();
        let sleep = match spare {
            Some(mut spare) => {
                spare.as_mut().reset(deadline.into());
                spare
            }
            None => Box::pin(tokio::time::sleep_until(deadline.into())),
        };
        Timer { sleep: Some(sleep), place: self.clone() }
    }

    fn place(&self) -> MutexGuard<'_, Option<Pin<Box<Sleep>>>> {
        self.0.locked()
    }
}

/// A timer in use, which ends once; it goes back to its place when it is dropped.
#[derive(Debug)]
pub struct Timer {
    /// None only while it is dropped.
    sleep: Option<Pin<Box<Sleep>>>,
    place: SpareTimer,
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        *self.place.place() = self.sleep.take();
    }
}

impl hyper::rt::Sleep for Timer {}

impl hyper::rt::Timer for SpareTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(self.until(deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn in_a(time: Duration) -> Instant {
        tokio::time::Instant::now().into_std() + time
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_was_used_before_ends_when_it_is_told_to_now() {
        let (spare, start) = (SpareTimer::default(), tokio::time::Instant::now());
        for dropped_after in [0, 1, 2] {
            let timer = spare.until(in_a(3 * SECOND));
            let ended = tokio::time::timeout(dropped_after * SECOND, timer).await;
            assert!(ended.is_err(), "after {:?}", start.elapsed());
        }
        for time in [5 * SECOND, SECOND, 7 * SECOND] {
            let start = tokio::time::Instant::now();
            spare.until(in_a(time)).await;
            assert_eq!(start.elapsed().as_secs(), time.as_secs());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn timers_in_use_at_the_same_time_know_nothing_of_each_other() {
        let (spare, start) = (SpareTimer::default(), tokio::time::Instant::now());
        let (long, short) = (spare.until(in_a(3 * SECOND)), spare.until(in_a(SECOND)));
        short.await;
        assert_eq!(start.elapsed().as_secs(), 1);
        long.await;
        assert_eq!(start.elapsed().as_secs(), 3);
    }
}
