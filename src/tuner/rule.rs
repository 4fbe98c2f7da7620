//! What moves which knobs. Three rules are the seed's (`cpu_optimization_rule`, `memory_optimization_rule`,
//! `disk_optimization_rule`, with its limits); operators add their own by a setting.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::monitor::{Resource, ResourceMetrics, Stall};

/// What a rule looks at, by the names of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Processor time used, of the limit.
    CpuPercent,
    /// Periods in which the processor quota was used up.
    CpuThrottledPercent,
    /// Memory used, of the limit.
    MemoryPercent,
    /// Used part of the disk that holds the data.
    DiskUsagePercent,
    /// Time in which work waited for a processor (`pressure.cpu.some_avg10`).
    CpuPressure,
    /// Time in which work waited for memory (`pressure.memory.some_avg10`).
    MemoryPressure,
    /// Time in which work waited for the disk (`pressure.io.some_avg10`).
    IoPressure,
}

impl Metric {
    const ALL: [Self; 7] = [
        Self::CpuPercent,
        Self::CpuThrottledPercent,
        Self::MemoryPercent,
        Self::DiskUsagePercent,
        Self::CpuPressure,
        Self::MemoryPressure,
        Self::IoPressure,
    ];

    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuPercent => "cpu_percent",
            Self::CpuThrottledPercent => "cpu_throttled_percent",
            Self::MemoryPercent => "memory_percent",
            Self::DiskUsagePercent => "disk_usage_percent",
            Self::CpuPressure => "cpu_pressure",
            Self::MemoryPressure => "memory_pressure",
            Self::IoPressure => "io_pressure",
        }
    }

    /// What a measurement says of it, in percent.
    pub(super) fn of(self, metrics: &ResourceMetrics) -> Option<f64> {
        let some = |stall: Option<Stall>| stall.map(|stall| stall.some_avg10);
        match self {
            Self::CpuPercent => metrics.cpu_percent,
            Self::CpuThrottledPercent => metrics.cpu_throttled_percent,
            Self::MemoryPercent => metrics.memory_percent,
            Self::DiskUsagePercent => metrics.disk_usage_percent,
            Self::CpuPressure => some(metrics.pressure.cpu),
            Self::MemoryPressure => some(metrics.pressure.memory),
            Self::IoPressure => some(metrics.pressure.io),
        }
    }
}

/// A metric, what it should stay below, and the knobs that are turned when it doesn't.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name, unique among rules.
    pub name: String,
    /// What it looks at.
    pub metric: Metric,
    /// Above this its knobs are turned, in percent.
    pub limit: f64,
    /// The knobs, by name.
    pub knobs: Vec<String>,
}

impl Rule {
    /// The seed's rules, each with the knobs that relieve its resource.
    pub fn of_the_seed() -> [Self; 3] {
        let rule = |name: &str, metric, resource: Resource, knobs: &[&str]| Self {
            name: name.to_owned(),
            metric,
            limit: resource.limit_percent(),
            knobs: knobs.iter().map(|&knob| knob.to_owned()).collect(),
        };
        [
            rule("cpu_optimization", Metric::CpuPercent, Resource::Cpu, &["hashing_concurrency"]),
            rule("memory_optimization", Metric::MemoryPercent, Resource::Memory, &["hashing_memory", "cache_size"]),
            rule(
                "disk_optimization",
                Metric::DiskUsagePercent,
                Resource::Disk,
                &["reap_interval", "compaction_interval"],
            ),
        ]
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} > {} -> {}", self.name, self.metric.name(), self.limit, self.knobs.join(" "))
    }
}

/// What is wrong with the text of a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// Its form.
    #[error("{0:?} must have the form name: metric > percent -> knob")]
    Form(String),
    /// Its metric.
    #[error("{0:?} is no metric; there are {names}", names = Metric::ALL.map(Metric::name).join(", "))]
    Metric(String),
    /// Its limit.
    #[error("{0:?} must be a percentage, above 0 and below 100")]
    Limit(String),
}

impl FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let form = || InvalidRule::Form(text.trim().to_owned());
        let (name, rest) = text.split_once(':').ok_or_else(form)?;
        let (condition, knobs) = rest.split_once("->").ok_or_else(form)?;
        let (metric, limit) = condition.split_once('>').ok_or_else(form)?;
        let [name, metric, limit] = [name, metric, limit].map(str::trim);
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        };
        let knobs: Vec<String> = knobs.split_whitespace().map(str::to_owned).collect();
        if !is_name(name) || knobs.is_empty() {
            return Err(form());
        }
        let known = Metric::ALL.into_iter().find(|known| known.name() == metric);
        let percent = limit.parse().ok().filter(|percent: &f64| *percent > 0.0 && *percent < 100.0);
        Ok(Self {
            name: name.to_owned(),
            metric: known.ok_or_else(|| InvalidRule::Metric(metric.to_owned()))?,
            limit: percent.ok_or_else(|| InvalidRule::Limit(limit.to_owned()))?,
            knobs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_from_what_it_is_written_as() {
        let text = "waits: cpu_pressure > 25.5 -> hashing_concurrency cache_size";
        let rule: Rule = text.parse().expect("a rule");
        assert_eq!((rule.metric, rule.limit), (Metric::CpuPressure, 25.5));
        assert_eq!(rule.to_string(), text);
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said() {
        let error = |text: &str| text.parse::<Rule>().expect_err("an error").to_string();
        assert!(error("waits").contains("must have the form"));
        assert!(error("waits: cpu_pressure > 25").contains("must have the form"));
        assert!(error("waits: cpu_pressure > 25 ->").contains("must have the form"));
        assert!(error("a b: cpu_pressure > 25 -> x").contains("must have the form"));
        assert!(error("waits: cpu > 25 -> x").contains("cpu_percent, cpu_throttled_percent"));
        for limit in ["0", "100", "-3", "nan", "inf", "much"] {
            assert!(error(&format!("waits: cpu_pressure > {limit} -> x")).contains("percentage"), "{limit}");
        }
    }

    #[test]
    fn the_seeds_rules_have_its_limits() {
        let limits = Rule::of_the_seed().map(|rule| (rule.metric.name(), rule.limit));
        assert_eq!(limits, [("cpu_percent", 80.0), ("memory_percent", 85.0), ("disk_usage_percent", 90.0)]);
    }
}
