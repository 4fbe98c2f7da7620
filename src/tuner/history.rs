//! The record of tuning cycles, their actions and the effect of each action.

use std::collections::VecDeque;

use serde::Serialize;

use super::rule::Metric;
use crate::{clock::Timestamp, monitor::ResourceMetrics};

/// How many cycles are kept, as in the reference design.
const CAPACITY: usize = 1000;
/// How many cycles count as recent, as in the reference design.
const RECENT_CYCLES: usize = 10;

/// Direction of an adjustment: `relieve` eases a resource, `step_back` follows calm, and `reset` restores the normal value
/// when tuning is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Relieve,
    StepBack,
    Reset,
}

/// The rule's metric before an adjustment and one cycle later.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Effect {
    /// Metric of the rule.
    pub metric: Metric,
    /// Value at the time of the decision, in percent. Null if it was not measured.
    #[schema(example = 93.1)]
    pub before: Option<f64>,
    /// Value one cycle later, in percent. Null until then, and if it was not measured.
    #[schema(example = 61.7)]
    pub after: Option<f64>,
    /// Difference, `after` minus `before`, in percentage points.
    #[schema(example = -31.4)]
    pub change: Option<f64>,
}

/// Adjustment of one knob.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = TuningAction)]
pub struct Action {
    /// Rule that adjusted the knob.
    #[schema(example = "cpu_optimization")]
    pub rule: String,
    /// Reason, as text for people.
    #[schema(example = "cpu_percent was 93.1, above 80.0")]
    pub trigger: String,
    /// Direction of the adjustment.
    pub direction: Direction,
    /// Name of the knob.
    #[schema(example = "hashing_concurrency")]
    pub knob: &'static str,
    /// Unit of the values.
    #[schema(example = "hashes")]
    pub unit: &'static str,
    /// Value before the adjustment.
    #[schema(example = 4)]
    pub before: u64,
    /// Value after the adjustment.
    #[schema(example = 3)]
    pub after: u64,
    /// Effect on the rule's metric.
    pub effect: Effect,
}

/// One tuning cycle.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = TuningCycle)]
pub struct Record {
    /// Time of the cycle.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    pub timestamp: Timestamp,
    /// Measurements that the decision used: means since the previous cycle, over one interval at most.
    pub metrics: ResourceMetrics,
    /// Adjustments of this cycle.
    pub actions: Vec<Action>,
}

/// The newest cycles, and totals since the start.
#[derive(Debug, Default)]
pub(super) struct History {
    records: VecDeque<Record>,
    cycles: u64,
    actions: u64,
}

impl History {
    /// Adds a cycle, and records the effects of the previous cycle's actions.
    pub(super) fn add(&mut self, record: Record) {
        self.record_effects(&record.metrics);
        self.cycles += 1;
        self.actions += record.actions.len() as u64;
        self.records.push_back(record);
        if self.records.len() > CAPACITY {
            self.records.pop_front();
        }
    }

    fn record_effects(&mut self, metrics: &ResourceMetrics) {
        let actions = self.records.back_mut().map(|record| &mut record.actions);
        for Action { effect, .. } in actions.into_iter().flatten() {
            effect.after = effect.metric.read(metrics);
            effect.change = effect.after.zip(effect.before).map(|(after, before)| after - before);
        }
    }

    pub(super) fn last(&self) -> Option<Timestamp> {
        self.records.back().map(|record| record.timestamp)
    }

    /// Returns the time of the measurement that the last cycle used.
    pub(super) fn last_measured(&self) -> Option<Timestamp> {
        self.records.back().map(|record| record.metrics.timestamp)
    }

    /// Returns up to `limit` cycles, newest first.
    pub(super) fn newest(&self, limit: usize) -> Vec<Record> {
        self.records.iter().rev().take(limit).cloned().collect()
    }

    /// Returns the number of cycles since the start.
    pub(super) fn cycles(&self) -> u64 {
        self.cycles
    }

    /// Returns the number of adjustments since the start.
    pub(super) fn actions(&self) -> u64 {
        self.actions
    }

    /// Returns the number of adjustments in the last [`RECENT_CYCLES`].
    pub(super) fn recent_actions(&self) -> usize {
        self.records.iter().rev().take(RECENT_CYCLES).map(|record| record.actions.len()).sum()
    }
}
