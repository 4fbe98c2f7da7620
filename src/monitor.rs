//! The resource monitor: cpu, memory, disk and network of the machine, measured at an interval and kept for a day.
//!
//! The names are the seed's (`ResourceMetrics`). Reading the kernel's counters blocks for fractions of a millisecond and
//! happens off the runtime.

mod probe;

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use probe::Probe;

/// How long measurements are kept.
pub const HISTORY: Duration = Duration::from_secs(24 * 3600);

/// One measurement, or the mean of several.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ResourceMetrics {
    /// Time that the processors were busy, 0 to 100.
    #[schema(example = 12.5)]
    pub cpu_percent: f64,
    /// Memory in use, 0 to 100.
    #[schema(example = 41.0)]
    pub memory_percent: f64,
    /// Memory that could be had, in MiB.
    #[schema(example = 14210.0)]
    pub memory_available_mb: f64,
    /// Used part of the file system that holds the data, 0 to 100.
    #[schema(example = 63.2)]
    pub disk_usage_percent: f64,
    /// Free space on it, in GiB.
    #[schema(example = 88.4)]
    pub disk_free_gb: f64,
    /// Bytes sent since the measurement before, loopback left out; a sum over a window.
    #[schema(example = 18231)]
    pub network_bytes_sent: u64,
    /// Bytes received since the measurement before, loopback left out; a sum over a window.
    #[schema(example = 90210)]
    pub network_bytes_recv: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    pub timestamp: Timestamp,
}

/// Keeps measurements and answers about them.
#[derive(Debug, Clone)]
pub struct Monitor {
    history: Arc<RwLock<VecDeque<ResourceMetrics>>>,
    capacity: usize,
}

impl Monitor {
    /// A monitor without measurements, which keeps [`HISTORY`] of them at one each `interval`.
    pub fn new(interval: Duration) -> Self {
        let capacity = (HISTORY.as_millis() / interval.as_millis().max(1)).max(1);
        Self { history: Arc::default(), capacity: usize::try_from(capacity).unwrap_or(usize::MAX) }
    }

    /// Measures at once and then each `interval`, until stopped. The disk is the one that holds `data`.
    pub async fn run(self, interval: Duration, data: PathBuf, stop: CancellationToken) {
        let mut probe = Some(Probe::new(data));
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let Some(mut used) = probe.take() else { return };
            let measured = tokio::task::spawn_blocking(move || {
                let metrics = used.measure(Timestamp::now());
                (used, metrics)
            });
            match measured.await {
                Ok((used, metrics)) => {
                    probe = Some(used);
                    self.add(metrics);
                }
                Err(error) => return tracing::error!(%error, "the resource monitor has stopped"),
            }
        }
    }

    fn add(&self, metrics: ResourceMetrics) {
        let mut history = self.history.write().unwrap_or_else(PoisonError::into_inner);
        if history.len() == self.capacity {
            history.pop_front();
        }
        history.push_back(metrics);
    }

    /// The newest measurement.
    pub fn current(&self) -> Option<ResourceMetrics> {
        self.history.read().unwrap_or_else(PoisonError::into_inner).back().copied()
    }

    /// The mean of the measurements made in the last `window` before `now`: available memory and free disk are the
    /// newest, network bytes are summed up, as in the seed.
    pub fn average(&self, window: Duration, now: Timestamp) -> Option<ResourceMetrics> {
        let history = self.history.read().unwrap_or_else(PoisonError::into_inner);
        let recent: Vec<&ResourceMetrics> =
            history.iter().rev().take_while(|metrics| now.since(metrics.timestamp) <= window).collect();
        let newest = **recent.first()?;
        let mean = |value: fn(&ResourceMetrics) -> f64| {
            recent.iter().map(|metrics| value(metrics)).sum::<f64>() / recent.len() as f64
        };
        Some(ResourceMetrics {
            cpu_percent: mean(|metrics| metrics.cpu_percent),
            memory_percent: mean(|metrics| metrics.memory_percent),
            disk_usage_percent: mean(|metrics| metrics.disk_usage_percent),
            network_bytes_sent: recent.iter().map(|metrics| metrics.network_bytes_sent).sum(),
            network_bytes_recv: recent.iter().map(|metrics| metrics.network_bytes_recv).sum(),
            ..newest
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(seconds: i64, cpu_percent: f64, sent: u64) -> ResourceMetrics {
        ResourceMetrics {
            cpu_percent,
            memory_percent: 50.0,
            memory_available_mb: 1000.0 + cpu_percent,
            disk_usage_percent: 10.0,
            disk_free_gb: 5.0,
            network_bytes_sent: sent,
            network_bytes_recv: 1,
            timestamp: Timestamp::from_millis(seconds * 1000),
        }
    }

    #[test]
    fn the_average_covers_the_window_and_sums_the_network() {
        let monitor = Monitor::new(Duration::from_secs(5));
        for sample in [metrics(0, 90.0, 7), metrics(100, 10.0, 100), metrics(105, 30.0, 200)] {
            monitor.add(sample);
        }
        let average = monitor.average(Duration::from_secs(10), Timestamp::from_millis(106_000)).expect("an average");
        assert_eq!((average.cpu_percent, average.network_bytes_sent), (20.0, 300));
        assert_eq!(average.memory_available_mb, 1030.0);
        assert_eq!(monitor.average(Duration::from_secs(10), Timestamp::from_millis(500_000)), None);
    }

    #[test]
    fn history_is_bounded() {
        let monitor = Monitor::new(HISTORY / 3);
        for second in 0..10 {
            monitor.add(metrics(second, 0.0, 0));
        }
        assert_eq!(monitor.history.read().expect("no panic").len(), 3);
        assert_eq!(monitor.current().expect("a measurement").timestamp, Timestamp::from_millis(9000));
    }

    #[tokio::test]
    async fn a_running_monitor_measures_this_machine() {
        let monitor = Monitor::new(Duration::from_secs(1));
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
        assert!((0.0..=100.0).contains(&metrics.cpu_percent));
        assert!(metrics.memory_percent > 0.0 && metrics.memory_available_mb > 0.0);
        assert!(metrics.disk_usage_percent > 0.0 && metrics.disk_free_gb > 0.0);
        stop.cancel();
        task.await.expect("the monitor ends when told to");
    }
}
