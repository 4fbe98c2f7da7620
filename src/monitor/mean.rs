//! The mean of several measurements.

use super::metrics::{Pressure, ResourceMetrics, Stall};

/// A measurement, or the mean of `count` of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub metrics: ResourceMetrics,
    pub count: u32,
}

/// Returns the mean of measurements in the order of time, weighted by their counts. Limits, available memory, free disk, kills
/// and sources are the newest values, and network bytes are sums. A value that no measurement has is none. None without
/// measurements.
pub(super) fn mean<'a>(entries: impl DoubleEndedIterator<Item = &'a Entry> + Clone) -> Option<Entry> {
    let newest = entries.clone().next_back()?.metrics;
    let weighted_mean = |values: &mut dyn Iterator<Item = (f64, u32)>| {
        let (sum, count) = values.fold((0.0, 0.0), |(sum, count), (value, times)| {
            (sum + value * f64::from(times), count + f64::from(times))
        });
        (count > 0.0).then(|| sum / count)
    };
    let mean = |value: fn(&ResourceMetrics) -> Option<f64>| {
        weighted_mean(&mut entries.clone().filter_map(|entry| Some((value(&entry.metrics)?, entry.count))))
    };
    let total = |value: fn(&ResourceMetrics) -> Option<u64>| {
        entries.clone().filter_map(|entry| value(&entry.metrics)).reduce(u64::saturating_add)
    };
    let stall = |stall: fn(&ResourceMetrics) -> Option<Stall>| {
        let known = || entries.clone().filter_map(move |entry| Some((stall(&entry.metrics)?, entry.count)));
        let part = |value: fn(&Stall) -> Option<f64>| {
            weighted_mean(&mut known().filter_map(|(stall, count)| Some((value(&stall)?, count))))
        };
        Some(Stall {
            some_avg10: part(|stall| Some(stall.some_avg10))?,
            full_avg10: part(|stall| stall.full_avg10),
            source: known().next_back()?.0.source,
        })
    };
    let metrics = ResourceMetrics {
        cpu_percent: mean(|metrics| metrics.cpu_percent),
        cpu_used_cores: mean(|metrics| metrics.cpu_used_cores),
        cpu_throttled_percent: mean(|metrics| metrics.cpu_throttled_percent),
        memory_percent: mean(|metrics| metrics.memory_percent),
        memory_used_mb: mean(|metrics| metrics.memory_used_mb),
        disk_usage_percent: mean(|metrics| metrics.disk_usage_percent),
        network_bytes_sent: total(|metrics| metrics.network_bytes_sent),
        network_bytes_recv: total(|metrics| metrics.network_bytes_recv),
        network_bytes_sent_per_second: mean(|metrics| metrics.network_bytes_sent_per_second),
        network_bytes_recv_per_second: mean(|metrics| metrics.network_bytes_recv_per_second),
        pressure: Pressure {
            cpu: stall(|metrics| metrics.pressure.cpu),
            memory: stall(|metrics| metrics.pressure.memory),
            io: stall(|metrics| metrics.pressure.io),
        },
        ..newest
    };
    Some(Entry { metrics, count: entries.map(|entry| entry.count).fold(0, u32::saturating_add) })
}
