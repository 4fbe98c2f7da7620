//! The limits of resources, and their current violations.
//!
//! Thresholds and severities are those of the reference design (`ResourceLimit`, `check_resource_limits`).

use serde::Serialize;

use super::metrics::ResourceMetrics;
use crate::clock::Timestamp;

/// Resource with a limit: processor time, memory, or the file system that holds the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LimitedResource)]
pub enum Resource {
    Cpu,
    Memory,
    Disk,
}

impl Resource {
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Disk];

    /// Returns the limit, in percent.
    pub const fn limit_percent(self) -> f64 {
        match self {
            Self::Cpu => 80.0,
            Self::Memory => 85.0,
            Self::Disk => 90.0,
        }
    }

    /// Returns the threshold of high severity, in percent.
    const fn high_percent(self) -> f64 {
        match self {
            Self::Cpu | Self::Memory => 95.0,
            Self::Disk => 98.0,
        }
    }

    /// Returns the used share in a measurement, in percent.
    fn read(self, metrics: &ResourceMetrics) -> Option<f64> {
        match self {
            Self::Cpu => metrics.cpu_percent,
            Self::Memory => metrics.memory_percent,
            Self::Disk => metrics.disk_usage_percent,
        }
    }
}

/// Severity of a violation: `high` above 95 % of processor time or memory, or 98 % of the disk; otherwise `medium`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Medium,
    High,
}

/// Resource above its limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Violation {
    /// Resource that exceeds its limit.
    pub resource: Resource,
    /// Newest measurement, in percent.
    #[schema(example = 91.4)]
    pub current: f64,
    /// Limit, in percent.
    #[schema(example = 80.0)]
    pub limit: f64,
    /// Severity by the newest measurement.
    pub severity: Severity,
    /// Time of the first measurement above the limit. All later ones are above it, too.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T11:58:10Z")]
    pub since: Timestamp,
}

/// The violations of the newest measurement. Their start times do not depend on how long measurements are kept.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<Violation>);

impl Violations {
    /// Takes a measurement into account. An unknown value is not a violation.
    pub(super) fn update(&mut self, metrics: &ResourceMetrics) {
        let violation = |resource: Resource| {
            let (current, limit) = (resource.read(metrics)?, resource.limit_percent());
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
    fn thresholds_and_severities_are_those_of_the_reference_design() {
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
    fn a_violation_starts_with_the_first_measurement_above_the_limit() {
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
