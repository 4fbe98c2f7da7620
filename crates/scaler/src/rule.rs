//! Custom rules: a measure that must not exceed a value.

use std::{fmt, str::FromStr, time::Duration};

use strum::{Display, EnumString, IntoStaticStr, VariantNames};

use super::Observation;

/// A measure of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case", parse_err_ty = InvalidRule, parse_err_fn = InvalidRule::new)]
pub enum Measure {
    /// Mean processor use of the instances, in percent.
    CpuPercent,
    /// Mean memory use of the instances, in percent.
    MemoryPercent,
    /// Mean response time, in seconds.
    ResponseTimeSeconds,
    /// The used share of connections, from 0.
    Utilization,
}

impl Measure {
    /// Returns the name, in snake case.
    pub fn name(self) -> &'static str {
        self.into()
    }

    fn of(self, seen: &Observation) -> Option<f64> {
        match self {
            Self::CpuPercent => seen.cpu_percent,
            Self::MemoryPercent => seen.memory_percent,
            Self::ResponseTimeSeconds => seen.response_time.as_ref().map(Duration::as_secs_f64),
            Self::Utilization => seen.utilization(),
        }
    }
}

/// Fires if a measure exceeds a value. An unknown measure does not fire.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The name that decisions use.
    pub name: String,
    /// The measure.
    pub measure: Measure,
    /// The threshold, in the unit of the measure.
    pub above: f64,
}

impl Rule {
    /// Returns the rule `cpu`: more than 80 % processor use.
    pub fn cpu() -> Self {
        Self { name: "cpu".to_owned(), measure: Measure::CpuPercent, above: 80.0 }
    }

    /// Returns the rule `memory`: more than 85 % memory use.
    pub fn memory() -> Self {
        Self { name: "memory".to_owned(), measure: Measure::MemoryPercent, above: 85.0 }
    }

    /// Returns the rule `response_time`: more than 2 s.
    pub fn response_time() -> Self {
        Self { name: "response_time".to_owned(), measure: Measure::ResponseTimeSeconds, above: 2.0 }
    }

    /// Returns the measured value if it exceeds the threshold.
    pub fn fires(&self, seen: &Observation) -> Option<f64> {
        self.measure.of(seen).filter(|value| *value > self.above)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}>{}", self.name, self.measure.name(), self.above)
    }
}

/// The text is not a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a rule is cpu, memory, response_time, or name=measure>value, where the measure is one of {}",
    Measure::VARIANTS.join(", ")
)]
pub struct InvalidRule;

impl InvalidRule {
    fn new(_: &str) -> Self {
        Self
    }
}

impl FromStr for Rule {
    type Err = InvalidRule;

    /// Parses `cpu`, `memory`, `response_time`, or a rule such as `crowded=utilization>0.7`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "cpu" => return Ok(Self::cpu()),
            "memory" => return Ok(Self::memory()),
            "response_time" => return Ok(Self::response_time()),
            _ => {}
        }
        let (name, condition) = text.split_once('=').ok_or(InvalidRule)?;
        let (measure, above) = condition.split_once('>').ok_or(InvalidRule)?;
        let measure: Measure = measure.trim().parse()?;
        let above = above.trim().parse().ok().filter(|value: &f64| value.is_finite()).ok_or(InvalidRule)?;
        let name = Some(name.trim()).filter(|name| !name.is_empty()).ok_or(InvalidRule)?.to_owned();
        Ok(Self { name, measure, above })
    }
}
