//! Recommended requests and limits, as in Kubernetes' Vertical Pod Autoscaler (`recommender/logic`).
//!
//! The request is the 90th percentile plus 15 %. The limit is the 95th percentile plus a margin that shrinks with the length of
//! the history. For memory only the peak of each day counts, as too little memory ends the process at once. One deviation: VPA
//! recommends at least 250 MB of memory for a pod; here there is no such minimum.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Histogram, Scheme};
use crate::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The initial weights of a processor sample and of a memory peak.
const CPU_WEIGHT: f64 = 0.1;
const MEMORY_WEIGHT: f64 = 1.0;
const MARGIN: f64 = 1.15;
/// The minimum recommendation, in cores.
const MIN_CORES: f64 = 0.025;

/// The use so far. Its JSON is a checkpoint of a few kilobytes, exact to a ten-thousandth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    cpu: Histogram,
    /// Peaks of past days.
    memory: Histogram,
    /// Start of the current day, and its peak.
    peak: Option<(Timestamp, f64)>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    samples: u64,
}

/// Recommendation for one resource, in cores or in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct Sizing {
    /// Less than this is too little.
    pub lower_bound: f64,
    /// Recommended request.
    pub request: f64,
    /// Recommended limit; more than this is too much.
    pub limit: f64,
}

/// Recommendations for an instance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct Sizes {
    /// Processors, in cores.
    pub cpu_cores: Sizing,
    /// Memory, in bytes.
    pub memory_bytes: Sizing,
    /// Days of history: the time since the first sample, or less if there were fewer than one sample a minute.
    pub confidence_days: f64,
}

impl Default for Usage {
    fn default() -> Self {
        let (cpu, memory) = (Histogram::new(Scheme::Cores), Histogram::new(Scheme::Bytes));
        Self { cpu, memory, peak: None, first: None, last: None, samples: 0 }
    }
}

impl Usage {
    /// Adds a measurement at `at`: the mean of cores used since the last measurement, and bytes used.
    pub fn add(&mut self, cores: Option<f64>, bytes: Option<f64>, at: Timestamp) {
        if let Some(cores) = cores.filter(|cores| cores.is_finite()) {
            self.cpu.add(cores, CPU_WEIGHT, at);
            self.first = Some(self.first.map_or(at, |first| first.min(at)));
            self.last = Some(self.last.map_or(at, |last| last.max(at)));
            self.samples += 1;
        }
        if let Some(bytes) = bytes.filter(|bytes| bytes.is_finite()) {
            self.peak = match self.peak {
                Some((day_start, peak)) if at.since(day_start) < DAY => Some((day_start, peak.max(bytes))),
                Some((day_start, peak)) => {
                    self.memory.add(peak, MEMORY_WEIGHT, day_start);
                    Some((at, bytes))
                }
                None => Some((at, bytes)),
            };
        }
    }

    /// Returns the recommendations; none without a history of both resources.
    pub fn sizes(&self) -> Option<Sizes> {
        let (first, last, (day_start, peak)) = (self.first?, self.last?, self.peak?);
        let lifespan = last.since(first).as_secs_f64() / DAY.as_secs_f64();
        let samples = self.samples as f64 / (DAY.as_secs_f64() / 60.0);
        let confidence = lifespan.min(samples);
        if confidence <= 0.0 {
            return None;
        }
        let mut memory = self.memory.clone();
        memory.add(peak, MEMORY_WEIGHT, day_start);
        let size = |histogram: &Histogram, minimum: f64| {
            let with_margin = |part: f64, factor: f64| (histogram.percentile(part) * MARGIN * factor).max(minimum);
            Sizing {
                lower_bound: with_margin(0.5, (1.0 + 0.001 / confidence).powi(-2)),
                request: with_margin(0.9, 1.0),
                limit: with_margin(0.95, 1.0 + 1.0 / confidence),
            }
        };
        Some(Sizes {
            cpu_cores: size(&self.cpu, MIN_CORES),
            memory_bytes: size(&memory, 0.0),
            confidence_days: confidence,
        })
    }
}

#[cfg(test)]
mod tests;
