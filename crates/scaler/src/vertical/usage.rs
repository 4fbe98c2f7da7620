//! Requests and limits to set, as Kubernetes' Vertical Pod Autoscaler recommends them (`recommender/logic`).
//!
//! The request is what is enough for 90 % of the time, and 15 % on top; the limit what is enough for 95 %, and more the
//! shorter the history. Of memory only peaks count, one a day: one moment with too little ends the process. One thing
//! differs: VPA recommends at least 250 MB for a pod, far above what an instance needs, so memory has no such floor.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Histogram, Scheme};
use crate::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What a sample of the processors weighs before it decays, and a peak of memory.
const CPU_WEIGHT: f64 = 0.1;
const MEMORY_WEIGHT: f64 = 1.0;
const MARGIN: f64 = 1.15;
/// The least that is recommended, in cores.
const LEAST_CORES: f64 = 0.025;

/// What was used so far. Its JSON is a checkpoint of a few kilobytes, exact to a ten-thousandth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    cpu: Histogram,
    /// Peaks of days that are over.
    memory: Histogram,
    /// When the running day began, and its peak.
    peak: Option<(Timestamp, f64)>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    samples: u64,
}

/// What to set of one resource, in cores or in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct Sizing {
    /// Less than this is surely too little.
    pub lower_bound: f64,
    /// What to request.
    pub request: f64,
    /// What to limit it to; more than this is surely too much.
    pub limit: f64,
}

/// What to set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct Sizes {
    /// Processors, in cores.
    pub cpu_cores: Sizing,
    /// Memory, in bytes.
    pub memory_bytes: Sizing,
    /// How many days of history this is from: the time since the first sample, or less if there were fewer samples than
    /// one a minute.
    pub confidence_days: f64,
}

impl Default for Usage {
    fn default() -> Self {
        let (cpu, memory) = (Histogram::new(Scheme::Cores), Histogram::new(Scheme::Bytes));
        Self { cpu, memory, peak: None, first: None, last: None, samples: 0 }
    }
}

impl Usage {
    /// Counts a measurement: cores used, as a mean since the last one, and bytes used.
    pub fn add(&mut self, cores: Option<f64>, bytes: Option<f64>, at: Timestamp) {
        if let Some(cores) = cores.filter(|cores| cores.is_finite()) {
            self.cpu.add(cores, CPU_WEIGHT, at);
            self.first = Some(self.first.map_or(at, |first| first.min(at)));
            self.last = Some(self.last.map_or(at, |last| last.max(at)));
            self.samples += 1;
        }
        if let Some(bytes) = bytes.filter(|bytes| bytes.is_finite()) {
            self.peak = match self.peak {
                Some((began, peak)) if at.since(began) < DAY => Some((began, peak.max(bytes))),
                Some((began, peak)) => {
                    self.memory.add(peak, MEMORY_WEIGHT, began);
                    Some((at, bytes))
                }
                None => Some((at, bytes)),
            };
        }
    }

    /// What to set; none before there is a history of both.
    pub fn sizes(&self) -> Option<Sizes> {
        let (first, last, (began, peak)) = (self.first?, self.last?, self.peak?);
        let lifespan = last.since(first).as_secs_f64() / DAY.as_secs_f64();
        let samples = self.samples as f64 / (DAY.as_secs_f64() / 60.0);
        let confidence = lifespan.min(samples);
        if confidence <= 0.0 {
            return None;
        }
        let mut memory = self.memory.clone();
        memory.add(peak, MEMORY_WEIGHT, began);
        let size = |histogram: &Histogram, least: f64| {
            let at_least = |part: f64, factor: f64| (histogram.percentile(part) * MARGIN * factor).max(least);
            Sizing {
                lower_bound: at_least(0.5, (1.0 + 0.001 / confidence).powi(-2)),
                request: at_least(0.9, 1.0),
                limit: at_least(0.95, 1.0 + 1.0 / confidence),
            }
        };
        Some(Sizes {
            cpu_cores: size(&self.cpu, LEAST_CORES),
            memory_bytes: size(&memory, 0.0),
            confidence_days: confidence,
        })
    }
}

#[cfg(test)]
mod tests;
