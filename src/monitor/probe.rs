//! The probe: reads counters of the container and of the machine, and computes measurements from their differences.
//!
//! A value that can't be read is none. It is logged once, unless the kernel merely does not provide it.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, Networks, System};

use super::{
    cgroup::{self, Cpu, Machine, Memory, Reading},
    metrics::{ResourceMetrics, Source, Sources},
};
use crate::clock::Timestamp;

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// The state between two measurements, to compute differences of processor and network counters.
pub(super) struct Probe {
    data: PathBuf,
    system: Option<System>,
    networks: Option<(Networks, Instant)>,
    cpu: Option<(Cpu, Instant)>,
    disk_failed: bool,
}

/// A measurement, and the processor counters that it was computed from.
pub(super) struct Measured {
    pub metrics: ResourceMetrics,
    pub cpu: Cpu,
}

/// The resources and use of the machine.
#[derive(Debug, Default, Clone, Copy)]
struct Host {
    cpus: Option<usize>,
    cpu_percent: Option<f64>,
    /// In bytes.
    memory: Option<u64>,
    /// In bytes.
    available: Option<u64>,
}

impl Probe {
    pub(super) fn new(data: PathBuf) -> Self {
        let failed =
            |resource: &str, error: &dyn std::fmt::Display| tracing::warn!(%error, resource, "resource not measured");
        let networks = Networks::new_with_refreshed_list().inspect_err(|error| failed("network", error)).ok();
        Self {
            data,
            system: System::new().inspect_err(|error| failed("processors and memory", error)).ok(),
            networks: networks.map(|networks| (networks, Instant::now())),
            cpu: None,
            disk_failed: false,
        }
    }

    /// Takes a measurement. Blocks; the first call blocks for [`MINIMUM_CPU_UPDATE_INTERVAL`].
    pub(super) fn measure(&mut self) -> Measured {
        let (before, then) = self.cpu.take().unwrap_or_else(|| {
            let first = (read(self.host()).cpu, Instant::now());
            std::thread::sleep(MINIMUM_CPU_UPDATE_INTERVAL);
            first
        });
        let host = self.host();
        let (Reading { cpu, memory, pressure }, now) = (read(host), Instant::now());
        let mut metrics = ResourceMetrics { pressure, ..ResourceMetrics::unknown(Timestamp::now()) };
        fill_cpu(&mut metrics, host, &before, &cpu, now.saturating_duration_since(then));
        fill_memory(&mut metrics, host, &memory);
        metrics.sources =
            Sources { cpu: cpu.source.unwrap_or(Source::Host), memory: memory.source.unwrap_or(Source::Host) };
        self.fill_disk(&mut metrics);
        self.fill_network(&mut metrics);
        self.cpu = Some((cpu.clone(), now));
        Measured { metrics, cpu }
    }

    fn host(&mut self) -> Host {
        let Some(system) = &mut self.system else { return Host::default() };
        let is_first = system.cpus().is_empty();
        system.refresh_cpu_usage();
        system.refresh_memory();
        let is_known = |number: &u64| *number > 0;
        Host {
            cpus: Some(system.cpus().len()).filter(|count| *count > 0),
            cpu_percent: (!is_first).then(|| f64::from(system.global_cpu_usage()).clamp(0.0, 100.0)),
            memory: Some(system.total_memory()).filter(is_known),
            available: Some(system.available_memory()).filter(is_known),
        }
    }

    fn fill_disk(&mut self, metrics: &mut ResourceMetrics) {
        match rustix::fs::statvfs(&self.data) {
            Ok(disk) => {
                let unit = disk.f_frsize as f64;
                let (total, free) = (disk.f_blocks as f64 * unit, disk.f_bfree as f64 * unit);
                metrics.disk_usage_percent = percent(total - free, total);
                metrics.disk_free_gb = Some(disk.f_bavail as f64 * unit / GIB);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.disk_failed, true) {
                    tracing::warn!(%error, resource = "disk", "resource not measured");
                }
            }
        }
    }

    fn fill_network(&mut self, metrics: &mut ResourceMetrics) {
        let Some((networks, then)) = &mut self.networks else { return };
        networks.refresh(true);
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(std::mem::replace(then, now)).as_secs_f64();
        let others = networks.iter().filter(|(name, _)| name.as_encoded_bytes() != b"lo");
        let (sent, received) = others.fold((0, 0), |(sent, received): (u64, u64), (_, network)| {
            (sent.saturating_add(network.transmitted()), received.saturating_add(network.received()))
        });
        let rate = |bytes: u64| (elapsed > 0.0).then(|| bytes as f64 / elapsed);
        (metrics.network_bytes_sent, metrics.network_bytes_sent_per_second) = (Some(sent), rate(sent));
        (metrics.network_bytes_recv, metrics.network_bytes_recv_per_second) = (Some(received), rate(received));
    }
}

fn read(host: Host) -> Reading {
    cgroup::read(Path::new("/"), Machine { cpus: host.cpus, memory: host.memory })
}

/// Fills the processor values from two readings. Counters of different groups, or that decreased, have no difference: the
/// process was moved between the readings.
fn fill_cpu(metrics: &mut ResourceMetrics, host: Host, before: &Cpu, now: &Cpu, elapsed: Duration) {
    let of_group = || match (&before.usage, &now.usage) {
        (Some(before), Some(now)) if before.group == now.group && !elapsed.is_zero() => {
            Some(now.time.checked_sub(before.time)?.as_secs_f64() / elapsed.as_secs_f64())
        }
        _ => None,
    };
    let of_machine = || Some(host.cpu_percent? * host.cpus? as f64 / 100.0);
    metrics.cpu_limit_cores = now.limit_cores;
    metrics.cpu_used_cores = if now.source.is_some() { of_group() } else { of_machine() };
    metrics.cpu_percent = match now.limit_cores {
        Some(limit) => metrics.cpu_used_cores.and_then(|used| percent(used, limit)),
        None => host.cpu_percent,
    };
    metrics.cpu_throttled_percent = match (&before.throttling, &now.throttling) {
        (Some(before), Some(now)) if before.group == now.group => {
            let differences = (now.throttled.checked_sub(before.throttled), now.periods.checked_sub(before.periods));
            match differences {
                // Nothing ran, so nothing was throttled.
                (Some(_), Some(0)) => Some(0.0),
                (Some(throttled), Some(periods)) => percent(throttled as f64, periods as f64),
                _ => None,
            }
        }
        _ => None,
    };
}

fn fill_memory(metrics: &mut ResourceMetrics, host: Host, memory: &Memory) {
    let mib = |bytes: u64| bytes as f64 / MIB;
    let machine_used = host.memory.zip(host.available).map(|(total, available)| total.saturating_sub(available));
    let used = if memory.source.is_some() { memory.used } else { machine_used };
    metrics.memory_limit_mb = memory.limit.map(mib);
    metrics.memory_high_mb = memory.high.map(mib);
    metrics.memory_used_mb = used.map(mib);
    metrics.memory_available_mb = host.available.into_iter().chain(memory.room).min().map(mib);
    metrics.memory_oom_kills = memory.oom_kills;
    metrics.memory_percent = match memory.limit {
        Some(_) => memory.fullest.and_then(|fullest| percent(fullest, 1.0)),
        None => machine_used.zip(host.memory).and_then(|(used, total)| percent(used as f64, total as f64)),
    };
}

fn percent(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| (100.0 * part / whole).clamp(0.0, 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::cgroup::{Throttling, Usage};

    const HOST: Host = Host { cpus: Some(4), cpu_percent: Some(60.0), memory: Some(8 << 30), available: Some(2 << 30) };

    fn cpu(limit_cores: Option<f64>, milliseconds: u64, throttled: u64, periods: u64) -> Cpu {
        let group = PathBuf::from("/own");
        let throttling = Throttling { group: group.clone(), periods, throttled, time: None };
        Cpu {
            source: Some(Source::CgroupV2),
            limit_cores,
            usage: Some(Usage { group, time: Duration::from_millis(milliseconds) }),
            throttling: limit_cores.map(|_| throttling),
        }
    }

    fn after_five_seconds(before: &Cpu, now: &Cpu) -> [Option<f64>; 4] {
        let mut metrics = ResourceMetrics::unknown(Timestamp::from_millis(0));
        fill_cpu(&mut metrics, HOST, before, now, Duration::from_secs(5));
        [metrics.cpu_percent, metrics.cpu_limit_cores, metrics.cpu_used_cores, metrics.cpu_throttled_percent]
    }

    #[test]
    fn with_a_limit_the_percentage_is_of_the_limit() {
        let seen = after_five_seconds(&cpu(Some(0.5), 1000, 10, 100), &cpu(Some(0.5), 3000, 35, 150));
        assert_eq!(seen, [Some(80.0), Some(0.5), Some(0.4), Some(50.0)]);
        let idle = after_five_seconds(&cpu(Some(0.5), 1000, 10, 100), &cpu(Some(0.5), 1000, 10, 100));
        assert_eq!(idle, [Some(0.0), Some(0.5), Some(0.0), Some(0.0)]);
    }

    #[test]
    fn without_a_limit_the_percentage_is_the_machines() {
        let seen = after_five_seconds(&cpu(None, 0, 0, 0), &cpu(None, 2500, 0, 0));
        assert_eq!(seen, [Some(60.0), None, Some(0.5), None]);
        let seen = after_five_seconds(&Cpu::default(), &Cpu::default());
        assert_eq!(seen, [Some(60.0), None, Some(2.4), None]);
    }

    #[test]
    fn counters_of_another_group_or_that_decreased_have_no_difference() {
        let before = cpu(Some(0.5), 1000, 10, 100);
        let lesser = cpu(Some(0.5), 10, 1, 10);
        assert_eq!(after_five_seconds(&before, &lesser), [None, Some(0.5), None, None]);
        let mut moved = cpu(Some(0.5), 3000, 35, 150);
        moved.usage = moved.usage.map(|usage| Usage { group: "/other".into(), ..usage });
        moved.throttling = moved.throttling.map(|throttling| Throttling { group: "/other".into(), ..throttling });
        assert_eq!(after_five_seconds(&before, &moved), [None, Some(0.5), None, None]);
    }

    #[test]
    fn memory_is_of_the_fullest_limit_and_available_memory_at_most_the_machines() {
        let mut metrics = ResourceMetrics::unknown(Timestamp::from_millis(0));
        let own = Memory {
            source: Some(Source::CgroupV2),
            limit: Some(256 << 20),
            used: Some(64 << 20),
            fullest: Some(0.75),
            room: Some(48 << 20),
            ..Memory::default()
        };
        fill_memory(&mut metrics, HOST, &own);
        let seen =
            [metrics.memory_percent, metrics.memory_limit_mb, metrics.memory_used_mb, metrics.memory_available_mb];
        assert_eq!(seen, [Some(75.0), Some(256.0), Some(64.0), Some(48.0)]);
        fill_memory(&mut metrics, HOST, &Memory { room: Some(3 << 30), ..own });
        assert_eq!(metrics.memory_available_mb, Some(2048.0));
    }

    #[test]
    fn unknown_values_stay_unknown() {
        let mut metrics = ResourceMetrics::unknown(Timestamp::from_millis(0));
        let unknown = metrics;
        fill_cpu(&mut metrics, Host::default(), &Cpu::default(), &Cpu::default(), Duration::ZERO);
        fill_memory(&mut metrics, Host::default(), &Memory::default());
        assert_eq!(metrics, unknown);
    }
}
