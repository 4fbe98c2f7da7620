//! Reads the machine's counters. What can't be read is said once and counts as zero.

use std::path::PathBuf;

use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, Networks, System};

use super::ResourceMetrics;
use crate::clock::Timestamp;

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// The state between two measurements: processor and network counters only mean something as differences.
pub(super) struct Probe {
    data: PathBuf,
    system: Option<System>,
    networks: Option<Networks>,
    disk_failed: bool,
}

impl Probe {
    pub(super) fn new(data: PathBuf) -> Self {
        let failed = |what: &str, error: &dyn std::fmt::Display| tracing::warn!(%error, "{what} can't be measured");
        Self {
            data,
            system: System::new().inspect_err(|error| failed("processors and memory", error)).ok(),
            networks: Networks::new_with_refreshed_list().inspect_err(|error| failed("the network", error)).ok(),
            disk_failed: false,
        }
    }

    /// Measures. Blocks; the first time for [`MINIMUM_CPU_UPDATE_INTERVAL`].
    pub(super) fn measure(&mut self, timestamp: Timestamp) -> ResourceMetrics {
        let (cpu_percent, memory_percent, memory_available_mb) = self.system();
        let (disk_usage_percent, disk_free_gb) = self.disk();
        let (network_bytes_sent, network_bytes_recv) = self.network();
        ResourceMetrics {
            cpu_percent,
            memory_percent,
            memory_available_mb,
            disk_usage_percent,
            disk_free_gb,
            network_bytes_sent,
            network_bytes_recv,
            timestamp,
        }
    }

    fn system(&mut self) -> (f64, f64, f64) {
        let Some(system) = &mut self.system else { return (0.0, 0.0, 0.0) };
        if system.cpus().is_empty() {
            system.refresh_cpu_usage();
            std::thread::sleep(MINIMUM_CPU_UPDATE_INTERVAL);
        }
        system.refresh_cpu_usage();
        system.refresh_memory();
        let (total, available) = (system.total_memory() as f64, system.available_memory() as f64);
        (f64::from(system.global_cpu_usage()), percent(total - available, total), available / MIB)
    }

    fn disk(&mut self) -> (f64, f64) {
        match rustix::fs::statvfs(&self.data) {
            Ok(disk) => {
                let unit = disk.f_frsize as f64;
                let (total, free) = (disk.f_blocks as f64 * unit, disk.f_bfree as f64 * unit);
                (percent(total - free, total), disk.f_bavail as f64 * unit / GIB)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.disk_failed, true) {
                    tracing::warn!(%error, "the disk can't be measured");
                }
                (0.0, 0.0)
            }
        }
    }

    fn network(&mut self) -> (u64, u64) {
        let Some(networks) = &mut self.networks else { return (0, 0) };
        networks.refresh(true);
        networks
            .iter()
            .filter(|(name, _)| name.as_encoded_bytes() != b"lo")
            .fold((0, 0), |(sent, received), (_, network)| {
                (sent + network.transmitted(), received + network.received())
            })
    }
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (100.0 * part / whole).clamp(0.0, 100.0) } else { 0.0 }
}
