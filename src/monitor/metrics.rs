//! What a measurement says.
//!
//! The seed's names are kept, others are beside them. What can't be read is none, which is not zero.

use serde::Serialize;

use crate::clock::Timestamp;

/// One measurement, or the mean of several. Null is what can't be read, or is not there.
///
/// In a container the numbers are the container's. Where a limit below the machine's is in force (`cpu_limit_cores`,
/// `memory_limit_mb`), the percentage is of that limit; where there is none it is the machine's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ResourceMetrics {
    /// Processor time used: of the container's limit if there is one, otherwise of the machine by all that runs there;
    /// 0 to 100.
    #[schema(example = 12.5)]
    pub cpu_percent: Option<f64>,
    /// The tightest quota or set of processors around the container, in cores; null without one.
    #[schema(example = 2.0)]
    pub cpu_limit_cores: Option<f64>,
    /// What the container uses, in cores; what the machine uses if the source is `host`.
    #[schema(example = 0.25)]
    pub cpu_used_cores: Option<f64>,
    /// Part of the quota's periods in which it was used up and the container had to wait, 0 to 100; null without a
    /// quota.
    #[schema(example = 0.0)]
    pub cpu_throttled_percent: Option<f64>,
    /// Memory in use: how full the container's limit is if there is one (of several around it, the fullest), otherwise
    /// of the machine; 0 to 100.
    #[schema(example = 41.0)]
    pub memory_percent: Option<f64>,
    /// Memory that could be had, in MiB: the machine's, and no more than is left below all limits.
    #[schema(example = 302.1)]
    pub memory_available_mb: Option<f64>,
    /// The tightest limit around the container, in MiB; null without one.
    #[schema(example = 512.0)]
    pub memory_limit_mb: Option<f64>,
    /// The tightest bound above which the kernel slows the container down to get memory back, in MiB; null without one.
    #[schema(example = 480.0)]
    pub memory_high_mb: Option<f64>,
    /// What the container uses, in MiB, without file pages that can be given up; what the machine uses if the source is
    /// `host`.
    #[schema(example = 209.9)]
    pub memory_used_mb: Option<f64>,
    /// Processes of the container killed for want of memory since it was made.
    #[schema(example = 0)]
    pub memory_oom_kills: Option<u64>,
    /// Used part of the file system that holds the data, 0 to 100.
    #[schema(example = 63.2)]
    pub disk_usage_percent: Option<f64>,
    /// Free space on it, in GiB.
    #[schema(example = 88.4)]
    pub disk_free_gb: Option<f64>,
    /// Bytes sent since the measurement before, loopback left out; a sum over a window.
    #[schema(example = 18231)]
    pub network_bytes_sent: Option<u64>,
    /// Bytes received since the measurement before, loopback left out; a sum over a window.
    #[schema(example = 90210)]
    pub network_bytes_recv: Option<u64>,
    /// Bytes sent per second.
    #[schema(example = 3646.2)]
    pub network_bytes_sent_per_second: Option<f64>,
    /// Bytes received per second.
    #[schema(example = 18042.0)]
    pub network_bytes_recv_per_second: Option<f64>,
    /// How long work waited for what it needs.
    pub pressure: Pressure,
    /// Where the numbers are from.
    pub sources: Sources,
    /// When it was made.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    pub timestamp: Timestamp,
}

impl ResourceMetrics {
    /// Of which nothing is known.
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

/// Where a number is from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The container, by control groups of version 2.
    CgroupV2,
    /// The container, by control groups of version 1.
    CgroupV1,
    /// The machine.
    #[default]
    Host,
}

/// Where the numbers of each resource are from: its limit and use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Sources {
    /// Of `cpu_limit_cores` and `cpu_used_cores`.
    pub cpu: Source,
    /// Of `memory_limit_mb` and `memory_used_mb`.
    pub memory: Source,
}

/// Pressure stall information; null is what the kernel does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Pressure {
    /// Waiting for a processor.
    pub cpu: Option<Stall>,
    /// Waiting for memory to be made free or read back.
    pub memory: Option<Stall>,
    /// Waiting for the disk.
    pub io: Option<Stall>,
}

/// The share of time in which work stood still for want of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Stall {
    /// Part of the last ten seconds in which some waited, 0 to 100.
    #[schema(example = 1.3)]
    pub some_avg10: f64,
    /// Part of the last ten seconds in which all waited, 0 to 100; null where the kernel does not tell.
    #[schema(example = 0.0)]
    pub full_avg10: Option<f64>,
    /// Whose work.
    pub source: Source,
}
