//! Tuning rules: which metric adjusts which knobs, above which limit.
//!
//! Three rules and their limits are those of the reference design (`cpu_optimization_rule`, `memory_optimization_rule`,
//! `disk_optimization_rule`). The setting `tuner_rules` adds more.

use std::{fmt, str::FromStr};

use serde::Serialize;
use strum::{EnumString, IntoStaticStr, VariantNames};

use crate::monitor::{Resource, ResourceMetrics, Stall};

/// Metric of a tuning rule, in percent. The pressure metrics are `some_avg10` of that resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema, EnumString, IntoStaticStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = InvalidRule, parse_err_fn = InvalidRule::unknown_metric)]
pub enum Metric {
    CpuPercent,
    CpuThrottledPercent,
    MemoryPercent,
    DiskUsagePercent,
    CpuPressure,
    MemoryPressure,
    IoPressure,
}

impl Metric {
    /// Returns the name, in snake case as in JSON.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the metric's value in a measurement, in percent.
    pub(super) fn read(self, metrics: &ResourceMetrics) -> Option<f64> {
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

/// Adjusts `knobs` while `metric` is above `limit`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Unique among rules.
    pub name: String,
    pub metric: Metric,
    /// In percent.
    pub limit: f64,
    /// Names of knobs. Those that the instance does not have are ignored.
    pub knobs: Vec<String>,
}

/// Returns the rules that always apply: those of the reference design, each with the knobs that relieve its resource.
pub fn default_rules() -> [Rule; 3] {
    let rule = |name: &str, metric, resource: Resource, knobs: &[&str]| Rule {
        name: name.to_owned(),
        metric,
        limit: resource.limit_percent(),
        knobs: knobs.iter().map(|&knob| knob.to_owned()).collect(),
    };
    [
        rule("cpu_optimization", Metric::CpuPercent, Resource::Cpu, &["hashing_concurrency"]),
        rule("memory_optimization", Metric::MemoryPercent, Resource::Memory, &["hashing_memory", "cache_size"]),
        rule("disk_optimization", Metric::DiskUsagePercent, Resource::Disk, &["reap_interval", "compaction_interval"]),
    ]
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} > {} -> {}", self.name, self.metric.name(), self.limit, self.knobs.join(" "))
    }
}

/// The text is not a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    #[error("{0:?} must have the form name: metric > percent -> knob")]
    Form(String),
    #[error("{0:?} is not a metric; use one of {names}", names = Metric::VARIANTS.join(", "))]
    Metric(String),
    #[error("{0:?} must be a percentage, above 0 and below 100")]
    Limit(String),
}

impl InvalidRule {
    fn unknown_metric(text: &str) -> Self {
        Self::Metric(text.to_owned())
    }
}

impl FromStr for Rule {
    type Err = InvalidRule;

    /// Parses `name: metric > percent -> knob`, with one or more knobs separated by spaces.
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
        let percent = limit.parse().ok().filter(|percent: &f64| *percent > 0.0 && *percent < 100.0);
        Ok(Self {
            name: name.to_owned(),
            metric: metric.parse()?,
            limit: percent.ok_or_else(|| InvalidRule::Limit(limit.to_owned()))?,
            knobs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_parses_from_its_own_text() {
        let text = "waits: cpu_pressure > 25.5 -> hashing_concurrency cache_size";
        let rule: Rule = text.parse().expect("a rule");
        assert_eq!((rule.metric, rule.limit), (Metric::CpuPressure, 25.5));
        assert_eq!(rule.to_string(), text);
    }

    #[test]
    fn an_invalid_rule_is_rejected_with_the_reason() {
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
    fn default_rules_have_the_limits_of_the_reference_design() {
        let limits = default_rules().map(|rule| (rule.metric.name(), rule.limit));
        assert_eq!(limits, [("cpu_percent", 80.0), ("memory_percent", 85.0), ("disk_usage_percent", 90.0)]);
    }
}
