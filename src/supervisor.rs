//! Background tasks that must not die silently.

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long to wait before a task that died is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Runs `task` until `stop`; should it panic, says so and starts it again.
pub(crate) fn supervise<F>(
    tracker: &TaskTracker,
    stop: &CancellationToken,
    name: &'static str,
    task: impl Fn(CancellationToken) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let stop = stop.clone();
    tracker.spawn(async move {
        loop {
            match tokio::spawn(task(stop.clone())).await {
                Ok(()) if stop.is_cancelled() => return,
                Ok(()) => tracing::error!(task = name, "a background task ended by itself and is started again"),
                Err(error) => tracing::error!(task = name, %error, "a background task died and is started again"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RESTART_PAUSE) => {}
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_started_again_until_it_is_stopped() {
        let (tracker, stop, starts) = (TaskTracker::new(), CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&starts);
        supervise(&tracker, &stop, "test", move |stop| {
            let start = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(start >= 2, "on purpose");
                stop.cancelled().await;
            }
        });
        while starts.load(Ordering::Relaxed) < 3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        stop.cancel();
        tracker.close();
        tracker.wait().await;
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }
}
