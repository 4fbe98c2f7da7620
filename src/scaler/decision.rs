//! What was decided, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Bounds, Observation};

/// What came of looking; the seed's words, and two more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The last action was too short a time ago.
    Cooldown,
    /// No instance takes requests.
    NoHealthyNodes,
    /// The instances have no places for requests.
    NoCapacity,
    /// There should be more instances.
    ScaledUp,
    /// There should be fewer.
    ScaledDown,
    /// The number is right.
    NoAction,
    /// A store is the bottleneck: no more instances.
    StoreBound,
    /// What is needed can't be said: the number stays.
    Unsure,
    /// A rule fired; it asks for one instance more.
    CustomRuleTriggered,
}

impl Outcome {
    /// Its name in API, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cooldown => "cooldown",
            Self::NoHealthyNodes => "no_healthy_nodes",
            Self::NoCapacity => "no_capacity",
            Self::ScaledUp => "scaled_up",
            Self::ScaledDown => "scaled_down",
            Self::NoAction => "no_action",
            Self::StoreBound => "store_bound",
            Self::Unsure => "unsure",
            Self::CustomRuleTriggered => "custom_rule_triggered",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a decision was made from. What did not matter is none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Numbers {
    /// Instances that take requests.
    pub ready: u32,
    /// Instances that don't yet.
    pub starting: u32,
    /// The part of the places at ready instances that is taken, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
    /// Seconds until the next action is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_left_seconds: Option<f64>,
    /// The demand now, in instances at their target utilisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demand: Option<f64>,
    /// The demand expected once an instance that is started now takes requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<f64>,
    /// What is kept on top of that for what was not foreseen, by how wrong recent forecasts were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headroom: Option<f64>,
    /// Forecast and headroom together: what another autoscaler should be fed, as instances, not rounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<f64>,
    /// The most instances that were wanted within the time for which scaling in waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recently_wanted: Option<u32>,
}

/// How many instances there should be, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Decision {
    /// What came of looking.
    pub outcome: Outcome,
    /// The rule that fired, where one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// How many instances there are, those that start included.
    pub from: u32,
    /// How many there should be.
    pub to: u32,
    /// Why, in sentences.
    pub reasons: Vec<String>,
    /// From which numbers.
    pub numbers: Numbers,
}

impl Decision {
    /// To leave everything as it is.
    pub(super) fn hold(outcome: Outcome, seen: &Observation, numbers: Numbers, reason: String) -> Self {
        let count = seen.count();
        Self { outcome, rule: None, from: count, to: count, reasons: vec![reason], numbers }
    }

    /// To have so many instances, or as close to that as the bounds allow; says so where they don't. What would lead out
    /// of the bounds, or further out, is no action.
    pub(super) fn change(to: u32, bounds: Bounds, seen: &Observation, numbers: Numbers, reason: String) -> Self {
        let from = seen.count();
        let mut decision =
            Self { outcome: Outcome::NoAction, rule: None, from, to: bounds.clamp(to), reasons: vec![reason], numbers };
        if decision.to < to {
            decision.reasons.push(format!("The bound is {} instances.", bounds.max()));
        } else if decision.to > to {
            decision.reasons.push(format!("At least {} instances are kept.", bounds.min()));
        }
        decision.outcome = match decision.to.cmp(&from) {
            std::cmp::Ordering::Greater => Outcome::ScaledUp,
            std::cmp::Ordering::Less => Outcome::ScaledDown,
            std::cmp::Ordering::Equal => Outcome::NoAction,
        };
        decision
    }

    /// The same without growth, if a store is the bottleneck.
    pub(super) fn unless_store_bound(mut self, seen: &Observation) -> Self {
        let Some(store) = &seen.bottleneck else { return self };
        if self.to < self.from {
            return self;
        }
        self.reasons.push(format!("Not more instances: {store} is the bottleneck, and they would press it harder."));
        Self { outcome: Outcome::StoreBound, to: self.from, ..self }
    }

    /// Whether there should be another number of instances than there is.
    pub fn changes(&self) -> bool {
        self.from != self.to
    }
}
