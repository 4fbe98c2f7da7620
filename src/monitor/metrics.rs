//! The values of a measurement, as the API shows them.
//!
//! Names of the reference design are kept. A value that can't be read is none, not zero.

use serde::Serialize;

use crate::clock::Timestamp;

/// One measurement, or the mean of several. A value that can't be read or does not exist is null.
///
/// In a container the numbers are the container's. Percentages are of the container's limit (`cpu_limit_cores`,
/// `memory_limit_mb`) if it is below the machine's resources, otherwise of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ResourceMetrics {
    /// Processor use, 0 to 100: of the container's limit if there is one, otherwise of the whole machine.
    #[schema(example = 12.5)]
    pub cpu_percent: Option<f64>,
    /// Tightest CPU quota or set of processors of the container and its ancestors, in cores. Null without one.
    #[schema(example = 2.0)]
    pub cpu_limit_cores: Option<f64>,
    /// Processor use of the container, in cores; of the machine if the source is `host`.
    #[schema(example = 0.25)]
    pub cpu_used_cores: Option<f64>,
    /// Share of periods in which the CPU quota was used up and the container had to wait, 0 to 100. Null without a quota.
    #[schema(example = 0.0)]
    pub cpu_throttled_percent: Option<f64>,
    /// Memory use, 0 to 100: of the container's limit if there is one (of several limits, the fullest), otherwise of the
    /// machine.
    #[schema(example = 41.0)]
    pub memory_percent: Option<f64>,
    /// Available memory, in MiB: the machine's, but not more than is left below all limits.
    #[schema(example = 302.1)]
    pub memory_available_mb: Option<f64>,
    /// Tightest memory limit of the container and its ancestors, in MiB. Null without one.
    #[schema(example = 512.0)]
    pub memory_limit_mb: Option<f64>,
    /// Tightest bound above which the kernel slows the container down to reclaim memory, in MiB. Null without one.
    #[schema(example = 480.0)]
    pub memory_high_mb: Option<f64>,
    /// Memory use of the container, in MiB, without reclaimable file pages; of the machine if the source is `host`.
    #[schema(example = 209.9)]
    pub memory_used_mb: Option<f64>,
    /// Processes of the container killed for lack of memory since its creation.
    #[schema(example = 0)]
    pub memory_oom_kills: Option<u64>,
    /// Used share of the file system that holds the data, 0 to 100.
    #[schema(example = 63.2)]
    pub disk_usage_percent: Option<f64>,
    /// Free space of the file system that holds the data, in GiB.
    #[schema(example = 88.4)]
    pub disk_free_gb: Option<f64>,
    /// Bytes sent since the previous measurement, without loopback. The sum over a window.
    #[schema(example = 18231)]
    pub network_bytes_sent: Option<u64>,
    /// Bytes received since the previous measurement, without loopback. The sum over a window.
    #[schema(example = 90210)]
    pub network_bytes_recv: Option<u64>,
    /// Bytes sent per second.
    #[schema(example = 3646.2)]
    pub network_bytes_sent_per_second: Option<f64>,
    /// Bytes received per second.
    #[schema(example = 18042.0)]
    pub network_bytes_recv_per_second: Option<f64>,
    /// Pressure stall information (PSI).
    pub pressure: Pressure,
    /// Sources of the numbers.
    pub sources: Sources,
    /// Time of the measurement; of the newest one in a mean.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    pub timestamp: Timestamp,
}

impl ResourceMetrics {
    /// Returns a measurement without any values.
    pub fn unknown(timestamp: Timestamp) -> Self {
        Self {
            cpu_percent: None,
            cpu_limit_cores: None,
            cpu_used_cores: None,
            cpu_throttled_percent: None,
            memory_percent: None,
            memory_available_mb: None,
            memory_limit_mb: None,
            memory_high_mb: None,
            memory_used_mb: None,
            memory_oom_kills: None,
            disk_usage_percent: None,
            disk_free_gb: None,
            network_bytes_sent: None,
            network_bytes_recv: None,
            network_bytes_sent_per_second: None,
            network_bytes_recv_per_second: None,
            pressure: Pressure::default(),
            sources: Sources::default(),
            timestamp,
        }
    }
}

/// Source of a number: the container, by control groups of version 2 or 1, or the machine (`host`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    CgroupV2,
    CgroupV1,
    #[default]
    Host,
}

/// Sources of limit and use of each resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Sources {
    /// Source of `cpu_limit_cores` and `cpu_used_cores`.
    pub cpu: Source,
    /// Source of `memory_limit_mb` and `memory_used_mb`.
    pub memory: Source,
}

/// Pressure stall information (PSI). Null if the kernel does not provide it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Pressure {
    /// Work waiting for a processor.
    pub cpu: Option<Stall>,
    /// Work waiting for memory to be reclaimed or read back.
    pub memory: Option<Stall>,
    /// Work waiting for the disk.
    pub io: Option<Stall>,
}

/// Share of time in which work waited for a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Stall {
    /// Share of the last ten seconds in which some tasks waited, 0 to 100.
    #[schema(example = 1.3)]
    pub some_avg10: f64,
    /// Share of the last ten seconds in which all tasks waited, 0 to 100. Null if the kernel does not provide it.
    #[schema(example = 0.0)]
    pub full_avg10: Option<f64>,
    /// Whether the tasks are those of the container or of the machine.
    pub source: Source,
}
