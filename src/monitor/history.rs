//! The measurements of the last day. Those of the last hour are kept one by one, older ones as means of a minute, so that a day
//! of measurements every second fits in a few MiB.

use std::{collections::VecDeque, time::Duration};

use super::{
    mean::{Entry, mean},
    metrics::ResourceMetrics,
};
use crate::clock::Timestamp;

/// How long measurements are kept.
pub const HISTORY: Duration = Duration::from_secs(24 * 3600);

/// How long measurements are kept one by one.
const RECENT: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// In the order of measurement. Bounded by count, so that a jump of the clock cannot make it grow.
#[derive(Debug)]
pub(super) struct History {
    /// One entry per minute, or per measurement if they are rarer.
    old: VecDeque<Entry>,
    recent: VecDeque<Entry>,
    old_capacity: usize,
    recent_capacity: usize,
}

impl History {
    /// Creates a history with capacity for measurements at `interval`.
    pub(super) fn new(interval: Duration) -> Self {
        let capacity = |time: Duration, step: Duration| {
            usize::try_from(time.as_millis() / step.as_millis().max(1)).unwrap_or(usize::MAX).max(1)
        };
        Self {
            old: VecDeque::new(),
            recent: VecDeque::new(),
            old_capacity: capacity(HISTORY, interval.max(MINUTE)),
            recent_capacity: capacity(RECENT, interval),
        }
    }

    pub(super) fn add(&mut self, metrics: ResourceMetrics) {
        if self.recent.len() == self.recent_capacity
            && let Some(aged) = self.recent.pop_front()
        {
            self.add_old(aged);
        }
        self.recent.push_back(Entry { metrics, count: 1 });
    }

    fn add_old(&mut self, aged: Entry) {
        let minute = |entry: &Entry| entry.metrics.timestamp.millis().div_euclid(MINUTE.as_millis() as i64);
        if let Some(last) = self.old.back_mut().filter(|last| minute(last) == minute(&aged)) {
            *last = mean([*last, aged].iter()).unwrap_or(aged);
            return;
        }
        if self.old.len() == self.old_capacity {
            self.old.pop_front();
        }
        self.old.push_back(aged);
    }

    pub(super) fn newest(&self) -> Option<&ResourceMetrics> {
        self.recent.back().map(|entry| &entry.metrics)
    }

    /// Returns the mean over the `window` before `now`.
    pub(super) fn average(&self, window: Duration, now: Timestamp) -> Option<ResourceMetrics> {
        mean(self.within(window, now).iter()).map(|entry| entry.metrics)
    }

    /// Returns at most `points` means over equal parts of the `window` before `now`, oldest first. Parts without measurements
    /// are omitted. Each mean has the time of its newest measurement.
    pub(super) fn series(&self, window: Duration, points: u32, now: Timestamp) -> Vec<ResourceMetrics> {
        let part = |entry: &Entry| {
            let age = now.since(entry.metrics.timestamp).as_millis();
            // A measurement exactly as old as the window belongs to the oldest part, not to one of its own.
            (age * u128::from(points) / window.as_millis().max(1)).min(u128::from(points.saturating_sub(1)))
        };
        let entries = self.within(window, now);
        let parts = entries.chunk_by(|one, other| part(one) == part(other));
        parts.filter_map(|entries| Some(mean(entries.iter())?.metrics)).collect()
    }

    /// Returns the entries in the `window` before `now`, oldest first.
    fn within(&self, window: Duration, now: Timestamp) -> Vec<Entry> {
        let newest_first = self.recent.iter().rev().chain(self.old.iter().rev());
        let mut entries: Vec<Entry> =
            newest_first.take_while(|entry| now.since(entry.metrics.timestamp) <= window).copied().collect();
        entries.reverse();
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::metrics::{Pressure, Source, Stall};

    fn metrics(seconds: i64, cpu_percent: f64, sent: u64) -> ResourceMetrics {
        ResourceMetrics {
            cpu_percent: Some(cpu_percent),
            memory_available_mb: Some(1000.0 + cpu_percent),
            network_bytes_sent: Some(sent),
            ..ResourceMetrics::unknown(at(seconds))
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn each_second(seconds: std::ops::Range<i64>) -> History {
        let mut history = History::new(Duration::from_secs(1));
        for second in seconds {
            history.add(metrics(second, second as f64, 1));
        }
        history
    }

    #[test]
    fn the_average_covers_the_window_and_sums_the_network() {
        let mut history = History::new(Duration::from_secs(5));
        for sample in [metrics(0, 90.0, 7), metrics(100, 10.0, 100), metrics(105, 30.0, 200)] {
            history.add(sample);
        }
        let average = history.average(Duration::from_secs(10), at(106)).expect("an average");
        assert_eq!((average.cpu_percent, average.network_bytes_sent), (Some(20.0), Some(300)));
        assert_eq!(average.memory_available_mb, Some(1030.0));
        assert_eq!(average.memory_percent, None);
        assert_eq!(history.average(Duration::from_secs(10), at(500)), None);
    }

    #[test]
    fn unknown_values_do_not_affect_the_mean() {
        let stall = |some_avg10, full_avg10| Some(Stall { some_avg10, full_avg10, source: Source::CgroupV2 });
        let mut history = History::new(Duration::from_secs(5));
        for (second, cpu) in [stall(10.0, None), None, stall(30.0, Some(4.0))].into_iter().enumerate() {
            let pressure = Pressure { cpu, ..Pressure::default() };
            history.add(ResourceMetrics { cpu_percent: None, pressure, ..metrics(second as i64, 0.0, 1) });
        }
        let average = history.average(Duration::from_secs(10), at(3)).expect("an average");
        assert_eq!((average.cpu_percent, average.pressure.cpu), (None, stall(20.0, Some(4.0))));
        assert_eq!(average.pressure.io, None);
    }

    #[test]
    fn measurements_older_than_an_hour_are_kept_by_the_minute_with_equal_weight() {
        let history = each_second(0..7200);
        assert_eq!((history.recent.len(), history.old.len()), (3600, 60));
        let average = history.average(HISTORY, at(7200)).expect("an average");
        assert_eq!((average.cpu_percent, average.network_bytes_sent), (Some(7199.0 / 2.0), Some(7200)));
        assert_eq!(history.newest().map(|metrics| metrics.timestamp), Some(at(7199)));
    }

    #[test]
    fn history_is_bounded() {
        let history = each_second(0..2 * 24 * 3600);
        assert_eq!((history.recent.len(), history.old.len()), (3600, 1440));
        let mut rare = History::new(HISTORY / 3);
        for second in 0..10 {
            rare.add(metrics(second * 8 * 3600, 0.0, 0));
        }
        assert_eq!((rare.recent.len(), rare.old.len()), (1, 3));
    }

    #[test]
    fn a_series_has_the_means_of_equal_parts_oldest_first() {
        let series = each_second(0..60).series(Duration::from_secs(40), 4, at(59));
        let seen: Vec<_> = series.iter().map(|point| (point.cpu_percent, point.timestamp)).collect();
        // The first part includes the measurement that is exactly as old as the window.
        let expected = [(24.0, 29), (34.5, 39), (44.5, 49), (54.5, 59)];
        assert_eq!(seen, expected.map(|(mean, second)| (Some(mean), at(second))));
        assert_eq!(series.iter().filter_map(|point| point.network_bytes_sent).sum::<u64>(), 41);
    }

    #[test]
    fn a_series_omits_parts_without_measurements() {
        let mut history = History::new(Duration::from_secs(5));
        for second in [0, 5, 90] {
            history.add(metrics(second, second as f64, 0));
        }
        let seen = history.series(Duration::from_secs(100), 1000, at(95)).into_iter().map(|point| point.timestamp);
        assert_eq!(seen.collect::<Vec<_>>(), [at(0), at(5), at(90)]);
        assert_eq!(history.series(Duration::from_secs(1), 10, at(500)), []);
    }
}
