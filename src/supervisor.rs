//! Supervision of background tasks: a task that panics or returns is logged and restarted.

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Delay before a task is restarted.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// The background tasks of a process.
#[derive(Debug, Default)]
pub(crate) struct Background {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    /// Runs `task` until [`Self::stop`]. If it panics or returns, logs that and restarts it.
    pub(crate) fn supervise<F>(&self, name: &'static str, task: impl Fn(CancellationToken) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            loop {
                match tokio::spawn(task(stop.clone())).await {
                    Ok(()) if stop.is_cancelled() => return,
                    Ok(()) => tracing::error!(task = name, "background task ended unexpectedly; restarting it"),
                    Err(error) => tracing::error!(task = name, %error, "background task panicked; restarting it"),
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RESTART_DELAY) => {}
                }
            }
        });
    }

    /// Stops all tasks and waits for their end.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_restarted_until_it_is_stopped() {
        let (background, starts) = (Background::default(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&starts);
        background.supervise("test", move |stop| {
            let start = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(start >= 2, "on purpose");
                stop.cancelled().await;
            }
        });
        while starts.load(Ordering::Relaxed) < 3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        background.stop().await;
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }
}
