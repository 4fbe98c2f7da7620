//! Rules of one's own: a measure that must not be above a value.

use std::{fmt, str::FromStr, time::Duration};

use super::Observation;

/// What a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// The mean processor use of the instances, in percent.
    CpuPercent,
    /// The mean memory use of the instances, in percent.
    MemoryPercent,
    /// The mean response time, in seconds.
    ResponseTimeSeconds,
    /// The part of the places for requests that is taken, from 0.
    Utilization,
}

impl Measure {
    const ALL: [Self; 4] = [Self::CpuPercent, Self::MemoryPercent, Self::ResponseTimeSeconds, Self::Utilization];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::CpuPercent => "cpu_percent",
            Self::MemoryPercent => "memory_percent",
            Self::ResponseTimeSeconds => "response_time_seconds",
            Self::Utilization => "utilization",
        }
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

/// Fires when a measure is above a value; what is not known fires nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What decisions call it.
    pub name: String,
    /// What it looks at.
    pub measure: Measure,
    /// Above what it fires, in the measure's unit.
    pub above: f64,
}

impl Rule {
    /// The seed's: more than 80 % of the processors.
    pub fn cpu() -> Self {
        Self { name: "cpu".to_owned(), measure: Measure::CpuPercent, above: 80.0 }
    }

    /// The seed's: more than 85 % of the memory.
    pub fn memory() -> Self {
        Self { name: "memory".to_owned(), measure: Measure::MemoryPercent, above: 85.0 }
    }

    /// The seed's: more than 2 s for a response.
    pub fn response_time() -> Self {
        Self { name: "response_time".to_owned(), measure: Measure::ResponseTimeSeconds, above: 2.0 }
    }

    /// The value that makes it fire, if it does.
    pub fn fires(&self, seen: &Observation) -> Option<f64> {
        self.measure.of(seen).filter(|value| *value > self.above)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}>{}", self.name, self.measure.name(), self.above)
    }
}

/// Text that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a rule is cpu, memory, response_time, or name=measure>value, where the measure is one of {}",
    Measure::ALL.map(Measure::name).join(", ")
)]
pub struct InvalidRule;

impl FromStr for Rule {
    type Err = InvalidRule;

    /// `cpu`, `memory` and `response_time` are the seed's; others look like `crowded=utilization>0.7`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "cpu" => return Ok(Self::cpu()),
            "memory" => return Ok(Self::memory()),
            "response_time" => return Ok(Self::response_time()),
            _ => {}
        }
        let (name, condition) = text.split_once('=').ok_or(InvalidRule)?;
        let (measure, above) = condition.split_once('>').ok_or(InvalidRule)?;
        let measure = Measure::ALL.into_iter().find(|one| one.name() == measure.trim()).ok_or(InvalidRule)?;
        let above = above.trim().parse().ok().filter(|value: &f64| value.is_finite()).ok_or(InvalidRule)?;
        let name = Some(name.trim()).filter(|name| !name.is_empty()).ok_or(InvalidRule)?.to_owned();
        Ok(Self { name, measure, above })
    }
}
