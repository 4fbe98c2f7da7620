//! What the tuner did, and what became of it.

use std::collections::VecDeque;

use serde::Serialize;

use super::rule::Metric;
use crate::{clock::Timestamp, monitor::ResourceMetrics};

/// How many cycles are kept, as in the seed.
const KEPT: usize = 1000;
/// How many cycles count as recent, as in the seed.
const RECENT: usize = 10;

/// Which way a knob was turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To relieve a resource.
    Relieve,
    /// Back, after calm.
    StepBack,
    /// Back to normal, as tuning was switched off.
    Reset,
}

/// What the rule's metric was before a knob was turned, and one cycle later.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Effect {
    /// The metric.
    pub metric: Metric,
    /// Its value that the decision was made on, in percent; null if it was not measured.
    #[schema(example = 93.1)]
    pub before: Option<f64>,
    /// Its value one cycle later, in percent; null until then, or if it was not measured.
    #[schema(example = 61.7)]
    pub after: Option<f64>,
    /// By how much it changed.
    #[schema(example = -31.4)]
    pub change: Option<f64>,
}

/// A knob that was turned.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = TuningAction)]
pub struct Action {
    /// The rule that turned it.
    #[schema(example = "cpu_optimization")]
    pub rule: String,
    /// Why, in words.
    #[schema(example = "cpu_percent was 93.1, above 80.0")]
    pub trigger: String,
    /// Which way.
    pub direction: Direction,
    /// The knob.
    #[schema(example = "hashing_concurrency")]
    pub knob: &'static str,
    /// What its value counts.
    #[schema(example = "threads")]
    pub unit: &'static str,
    /// Its value before.
    #[schema(example = 4)]
    pub before: u64,
    /// Its value since.
    #[schema(example = 3)]
    pub after: u64,
    /// What that did.
    pub effect: Effect,
}

/// A cycle.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = TuningCycle)]
pub struct Record {
    /// When it was.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    pub timestamp: Timestamp,
    /// The measurements that it decided on: means since the cycle before, and of the last interval at most.
    pub metrics: ResourceMetrics,
    /// The knobs that it turned.
    pub actions: Vec<Action>,
}

/// The cycles of late, and how many there ever were.
#[derive(Debug, Default)]
pub(super) struct History {
    records: VecDeque<Record>,
    cycles: u64,
    actions: u64,
}

impl History {
    /// Adds a cycle, and notes in the one before it what its actions did.
    pub(super) fn add(&mut self, record: Record) {
        self.settle(&record.metrics);
        self.cycles += 1;
        self.actions += record.actions.len() as u64;
        self.records.push_back(record);
        if self.records.len() > KEPT {
            self.records.pop_front();
        }
    }

    fn settle(&mut self, metrics: &ResourceMetrics) {
        let actions = self.records.back_mut().map(|record| &mut record.actions);
        for Action { effect, .. } in actions.into_iter().flatten() {
            effect.after = effect.metric.of(metrics);
            effect.change = effect.after.zip(effect.before).map(|(after, before)| after - before);
        }
    }

    /// When the last cycle was.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.records.back().map(|record| record.timestamp)
    }

    /// When what the last cycle decided on was measured.
    pub(super) fn last_measured(&self) -> Option<Timestamp> {
        self.records.back().map(|record| record.metrics.timestamp)
    }

    /// The newest cycles, newest first.
    pub(super) fn newest(&self, most: usize) -> Vec<Record> {
        self.records.iter().rev().take(most).cloned().collect()
    }

    /// How many cycles there were.
    pub(super) fn cycles(&self) -> u64 {
        self.cycles
    }

    /// How many knobs were turned.
    pub(super) fn actions(&self) -> u64 {
        self.actions
    }

    /// How many knobs the last ten cycles turned.
    pub(super) fn recent_actions(&self) -> usize {
        self.records.iter().rev().take(RECENT).map(|record| record.actions.len()).sum()
    }
}
