//! Timers that a connection reuses.
//!
//! Almost no timer of a request ever fires. Creating and dropping a timer each take a lock that all workers of the runtime share;
//! moving its deadline to a later time takes none. So a connection keeps its timer registered for the next request. If the
//! timer fires while unused, it wakes the connection once for nothing. With HTTP/2 it keeps the remains of one request's task
//! alive until then.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::sync::MutexExt;
use tokio::time::Sleep;

/// A slot for a timer that is not in use; clones share it.
///
/// All uses should have similar durations: moving a deadline to an earlier time costs as much as creating a timer.
#[derive(Debug, Clone, Default)]
pub struct SpareTimer(Arc<Mutex<Option<Pin<Box<Sleep>>>>>);

impl SpareTimer {
    /// Returns a timer that fires at `deadline`: the spare one if it is available, or else a new one.
    pub fn until(&self, deadline: Instant) -> Timer {
        let spare = self.slot().take();
        let sleep = match spare {
            Some(mut spare) => {
                spare.as_mut().reset(deadline.into());
                spare
            }
            None => Box::pin(tokio::time::sleep_until(deadline.into())),
        };
        Timer { sleep: Some(sleep), slot: self.clone() }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Pin<Box<Sleep>>>> {
        self.0.locked()
    }
}

/// A timer in use, which fires once. When dropped, it returns to its slot.
#[derive(Debug)]
pub struct Timer {
    /// `None` only during drop.
    sleep: Option<Pin<Box<Sleep>>>,
    slot: SpareTimer,
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        *self.slot.slot() = self.sleep.take();
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
    async fn a_reused_timer_fires_at_its_new_deadline() {
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
    async fn concurrent_timers_are_independent() {
        let (spare, start) = (SpareTimer::default(), tokio::time::Instant::now());
        let (long, short) = (spare.until(in_a(3 * SECOND)), spare.until(in_a(SECOND)));
        short.await;
        assert_eq!(start.elapsed().as_secs(), 1);
        long.await;
        assert_eq!(start.elapsed().as_secs(), 3);
    }
}
