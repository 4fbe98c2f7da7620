//! What a resource should stay below, and since when it does not.
//!
//! Thresholds and severities are the seed's (`ResourceLimit`, `check_resource_limits`).

use serde::Serialize;

use super::metrics::ResourceMetrics;
use crate::clock::Timestamp;

/// A resource that has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LimitedResource)]
pub enum Resource {
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// The file system that holds the data.
    Disk,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Disk];

    /// What it should not exceed, in percent.
    pub const fn limit_percent(self) -> f64 {
        match self {
            Self::Cpu => 80.0,
            Self::Memory => 85.0,
            Self::Disk => 90.0,
        }
    }

    /// Above this a violation is of high severity, in percent.
    const fn high_percent(self) -> f64 {
        match self {
            Self::Cpu | Self::Memory => 95.0,
            Self::Disk => 98.0,
        }
    }

    /// What a measurement says of it, in percent.
    fn of(self, metrics: &ResourceMetrics) -> Option<f64> {
        match self {
            Self::Cpu => metrics.cpu_percent,
            Self::Memory => metrics.memory_percent,
            Self::Disk => metrics.disk_usage_percent,
        }
    }
}

/// How bad a violation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Above the limit.
    Medium,
    /// Hardly anything is left: more than 95 % of processor time or memory is used, or more than 98 % of the disk.
    High,
}

/// A resource that is above its limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Violation {
    /// Which resource.
    pub resource: Resource,
    /// The newest measurement, in percent.
    #[schema(example = 91.4)]
    pub current: f64,
    /// What it should not exceed, in percent.
    #[schema(example = 80.0)]
    pub limit: f64,
    /// How bad it is.
    pub severity: Severity,
    /// When the first of the measurements was made that all exceed the limit.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T11:58:10Z")]
    pub since: Timestamp,
}

/// The violations of the newest measurement. Each knows its beginning, however long ago that was.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<Violation>);

impl Violations {
    /// Takes a measurement into account. A resource that it does not know violates nothing.
    pub(super) fn update(&mut self, metrics: &ResourceMetrics) {
        let violation = |resource: Resource| {
            let (current, limit) = (resource.of(metrics)?, resource.limit_percent());
            let severity = if current > resource.high_percent() { Severity::High } else { Severity::Medium };
            let before = self.0.iter().find(|violation| violation.resource == resource);
            let since = before.map_or(metrics.timestamp, |before| before.since);
            (current > limit).then_some(Violation { resource, current, limit, severity, since })
        };
        self.0 = Resource::ALL.into_iter().filter_map(violation).collect();
    }

    pub(super) fn all(&self) -> &[Violation] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(seconds: i64, cpu: Option<f64>, memory: f64, disk: f64) -> ResourceMetrics {
        ResourceMetrics {
            cpu_percent: cpu,
            memory_percent: Some(memory),
            disk_usage_percent: Some(disk),
            ..ResourceMetrics::unknown(Timestamp::from_millis(seconds * 1000))
        }
    }

    #[test]
    fn thresholds_and_severities_are_the_seeds() {
        let check = |cpu, memory, disk| {
            let mut violations = Violations::default();
            violations.update(&metrics(0, Some(cpu), memory, disk));
            violations.all().iter().map(|found| (found.resource, found.severity)).collect::<Vec<_>>()
        };
        assert_eq!(check(80.0, 85.0, 90.0), []);
        let medium = Resource::ALL.map(|resource| (resource, Severity::Medium));
        assert_eq!(check(80.1, 85.1, 90.1), medium);
        assert_eq!(check(95.0, 95.0, 98.0), medium);
        assert_eq!(check(95.1, 95.1, 98.1), Resource::ALL.map(|resource| (resource, Severity::High)));
    }

    #[test]
    fn a_violation_began_with_the_first_measurement_above_the_limit() {
        let mut violations = Violations::default();
        let mut since = |second, cpu| {
            violations.update(&metrics(second, cpu, 0.0, 0.0));
            violations.all().first().map(|violation| (violation.since.millis() / 1000, violation.severity))
        };
        assert_eq!(since(0, Some(10.0)), None);
        assert_eq!(since(5, Some(81.0)), Some((5, Severity::Medium)));
        assert_eq!(since(10, Some(99.0)), Some((5, Severity::High)));
        assert_eq!(since(15, Some(79.0)), None);
        assert_eq!(since(20, Some(90.0)), Some((20, Severity::Medium)));
        assert_eq!(since(25, None), None);
        assert_eq!(since(30, Some(90.0)), Some((30, Severity::Medium)));
    }
}
