//! The resource monitor: measures processor time, memory, disk, network and pressure at an interval, and keeps a day of
//! measurements.
//!
//! Names are those of the reference design (`ResourceMetrics`). In a container the numbers are the container's, and each names
//! its source. Reading the kernel's counters blocks for fractions of a millisecond, so it does not run on the async runtime.

mod cgroup;
mod history;
mod limits;
mod mean;
mod metrics;
mod probe;

use std::{
    path::PathBuf,
    sync::{Arc, RwLock, RwLockReadGuard},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{clock::Timestamp, sync::RwLockExt, ticks::Ticks};
pub use history::HISTORY;
use history::History;
use limits::Violations;
pub use limits::{Resource, Severity, Violation};
pub use metrics::{Pressure, ResourceMetrics, Source, Sources, Stall};
use probe::{Measured, Probe};

/// The measurements of the last day. Clones share them.
#[derive(Debug, Clone)]
pub struct Monitor(Arc<RwLock<State>>);

#[derive(Debug)]
struct State {
    history: History,
    violations: Violations,
    totals: Totals,
}

/// Counters that only rise, for the metrics endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Processor time of the container since its creation. None outside of a container.
    pub cpu_used: Option<Duration>,
    /// Time that processes waited because of the CPU quota, summed over processors. None without a quota.
    pub cpu_throttled: Option<Duration>,
    /// Bytes sent since the start of the monitor, without loopback.
    pub network_bytes_sent: u64,
    /// Bytes received since the start of the monitor, without loopback.
    pub network_bytes_recv: u64,
}

impl Monitor {
    /// Creates a monitor without measurements. Its capacity is [`HISTORY`] of measurements at `interval`.
    pub fn new(interval: Duration) -> Self {
        let (violations, totals) = (Violations::default(), Totals::default());
        Self(Arc::new(RwLock::new(State { history: History::new(interval), violations, totals })))
    }

    /// Measures at once and then every `interval`, until stopped. The measured disk is the one that holds `data`.
    pub async fn run(self, interval: Duration, data: PathBuf, stop: CancellationToken) {
        let mut probe = Some(Probe::new(data));
        let mut ticks = Ticks::every(interval);
        while ticks.next_until(&stop).await {
            let Some(mut used) = probe.take() else { return };
            let measured = tokio::task::spawn_blocking(move || {
                let measured = used.measure();
                (used, measured)
            });
            match measured.await {
                Ok((used, measured)) => {
                    probe = Some(used);
                    self.add(measured);
                }
                Err(error) => return tracing::error!(%error, "resource measurement failed"),
            }
        }
    }

    fn add(&self, Measured { metrics, cpu }: Measured) {
        let mut state = self.0.write_locked();
        let sum = |total: u64, bytes: Option<u64>| total.saturating_add(bytes.unwrap_or(0));
        state.totals = Totals {
            cpu_used: cpu.usage.map(|usage| usage.time),
            cpu_throttled: cpu.throttling.and_then(|throttling| throttling.time),
            network_bytes_sent: sum(state.totals.network_bytes_sent, metrics.network_bytes_sent),
            network_bytes_recv: sum(state.totals.network_bytes_recv, metrics.network_bytes_recv),
        };
        state.violations.update(&metrics);
        state.history.add(metrics);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read_locked()
    }

    pub fn current(&self) -> Option<ResourceMetrics> {
        self.read().history.newest().copied()
    }

    /// Returns the mean of the measurements in the `window` before `now`. Limits, available memory and free disk are the newest
    /// values, and network bytes are sums, as in the reference design. Measurements older than an hour have a resolution of one
    /// minute.
    pub fn average(&self, window: Duration, now: Timestamp) -> Option<ResourceMetrics> {
        self.read().history.average(window, now)
    }

    /// Returns at most `points` means over equal parts of the `window` before `now`, oldest first. Parts without measurements
    /// are omitted. Each mean has the time of its newest measurement.
    pub fn series(&self, window: Duration, points: u32, now: Timestamp) -> Vec<ResourceMetrics> {
        self.read().history.series(window, points, now)
    }

    /// Returns the resources above their limit in the newest measurement. None before the first measurement.
    pub fn violations(&self) -> Option<Vec<Violation>> {
        let state = self.read();
        state.history.newest().map(|_| state.violations.all().to_vec())
    }

    /// Returns the counters as of the newest measurement.
    pub fn totals(&self) -> Totals {
        self.read().totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_running_monitor_measures_its_machine_or_container() {
        let monitor = Monitor::new(Duration::from_secs(1));
        assert_eq!((monitor.current(), monitor.violations()), (None, None));
        let stop = CancellationToken::new();
        let task = tokio::spawn(monitor.clone().run(Duration::from_secs(1), ".".into(), stop.clone()));
        let measured = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                match monitor.current() {
                    Some(metrics) => break metrics,
                    None => tokio::task::yield_now().await,
                }
            }
        });
        let metrics = measured.await.expect("a measurement");
        let is_positive = |value: Option<f64>| value.is_some_and(|value| value > 0.0);
        assert!(metrics.cpu_percent.is_some_and(|percent| (0.0..=100.0).contains(&percent)), "{metrics:?}");
        assert!(is_positive(metrics.memory_percent) && is_positive(metrics.memory_available_mb), "{metrics:?}");
        assert!(is_positive(metrics.memory_used_mb), "{metrics:?}");
        assert!(is_positive(metrics.disk_usage_percent) && is_positive(metrics.disk_free_gb), "{metrics:?}");
        assert!(metrics.network_bytes_sent_per_second.is_some(), "{metrics:?}");
        assert!(monitor.violations().is_some());
        stop.cancel();
        task.await.expect("the monitor stops");
    }
}
