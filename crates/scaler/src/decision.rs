//! Decisions and their reasons.

use serde::{Deserialize, Serialize};

use super::{Bounds, Observation};

/// The outcome of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub enum Outcome {
    /// The cooldown of the last change has not ended.
    Cooldown,
    /// No instance is ready.
    NoHealthyNodes,
    /// The instances have no capacity for requests.
    NoCapacity,
    /// More instances are needed.
    ScaledUp,
    /// Fewer instances are needed.
    ScaledDown,
    /// The number of instances stays.
    NoAction,
    /// A store is the bottleneck, so no instances are added.
    StoreBound,
    /// The demand is unknown, so the number of instances stays.
    Unsure,
    /// A custom rule fired, which adds one instance.
    CustomRuleTriggered,
}

impl Outcome {
    /// Returns the name, in snake case.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The numbers that a decision is based on. Numbers that were not used are none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Numbers {
    /// The number of ready instances.
    pub ready: u32,
    /// The number of starting instances.
    pub starting: u32,
    /// The used share of the ready instances' connections, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
    /// Seconds until the end of the cooldown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_left_seconds: Option<f64>,
    /// The current demand, in instances at their target utilization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demand: Option<f64>,
    /// The demand expected when an instance that is started now is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<f64>,
    /// Additional capacity for forecast errors, from the errors of recent forecasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headroom: Option<f64>,
    /// Forecast plus headroom, in instances, not rounded. Suitable as the input of another autoscaler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<f64>,
    /// The maximum number of instances wanted in the time that scaling in waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recently_wanted: Option<u32>,
}

/// The number of instances that there should be, and the reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct Decision {
    /// The outcome of the evaluation.
    pub outcome: Outcome,
    /// The name of the custom rule that fired, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The current number of instances, including starting ones.
    pub from: u32,
    /// The wanted number of instances.
    pub to: u32,
    /// The reasons, as sentences.
    pub reasons: Vec<String>,
    /// The numbers that the decision is based on.
    pub numbers: Numbers,
}

impl Decision {
    /// Keeps the number of instances.
    pub(super) fn hold(outcome: Outcome, seen: &Observation, numbers: Numbers, reason: String) -> Self {
        let count = seen.count();
        Self { outcome, rule: None, from: count, to: count, reasons: vec![reason], numbers }
    }

    /// Changes the number of instances to `to`, clamped to the bounds. A reason is added if it was clamped.
    pub(super) fn change(to: u32, bounds: Bounds, seen: &Observation, numbers: Numbers, reason: String) -> Self {
        let from = seen.count();
        let mut decision =
            Self { outcome: Outcome::NoAction, rule: None, from, to: bounds.clamp(to), reasons: vec![reason], numbers };
        if decision.to < to {
            decision.reasons.push(format!("The upper bound is {} instances.", bounds.max()));
        } else if decision.to > to {
            decision.reasons.push(format!("The lower bound is {} instances.", bounds.min()));
        }
        decision.outcome = match decision.to.cmp(&from) {
            std::cmp::Ordering::Greater => Outcome::ScaledUp,
            std::cmp::Ordering::Less => Outcome::ScaledDown,
            std::cmp::Ordering::Equal => Outcome::NoAction,
        };
        decision
    }

    /// Prevents growth if a store is the bottleneck.
    pub(super) fn unless_store_bound(mut self, seen: &Observation) -> Self {
        let Some(store) = &seen.bottleneck else { return self };
        if self.to < self.from {
            return self;
        }
        self.reasons.push(format!(
            "No instances are added: store {store} is the bottleneck, and more instances would increase its load."
        ));
        Self { outcome: Outcome::StoreBound, to: self.from, ..self }
    }

    /// Returns whether the number of instances changes.
    pub fn changes(&self) -> bool {
        self.from != self.to
    }
}
