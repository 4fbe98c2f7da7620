#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod bounds;
mod decision;
pub mod demand;
mod observation;
mod rule;
mod state;
pub mod threshold;
mod timestamp;
pub mod vertical;

pub use bounds::{Bounds, InvalidBounds};
pub use decision::{Decision, Numbers, Outcome};
pub use demand::Demand;
pub use observation::{Connections, Observation};
pub use rule::{InvalidRule, Measure, Rule};
use serde::{Deserialize, Serialize};
pub use state::State;
pub use threshold::Threshold;
pub use timestamp::Timestamp;

/// The name of a scaling policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::Display, strum::EnumString, strum::IntoStaticStr, strum::VariantArray, strum::VariantNames)]
#[strum(serialize_all = "snake_case", parse_err_ty = UnknownPolicy, parse_err_fn = UnknownPolicy::new)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub enum PolicyName {
    /// Follows a short forecast of the demand. Scales out at once, and in once fewer instances were enough for a while.
    Demand,
    /// Adds one instance above 80 % of connections and removes one below 30 %, with a cooldown (reference design).
    Threshold,
}

/// A scaling policy with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum Policy {
    /// See [`PolicyName::Demand`].
    Demand(Demand),
    /// See [`PolicyName::Threshold`].
    Threshold(Threshold),
}

impl Policy {
    /// Makes a policy with default parameters.
    pub fn new(name: PolicyName, bounds: Bounds) -> Self {
        match name {
            PolicyName::Demand => Self::Demand(Demand::new(bounds)),
            PolicyName::Threshold => Self::Threshold(Threshold::new(bounds)),
        }
    }

    /// Returns the name.
    pub fn name(&self) -> PolicyName {
        match self {
            Self::Demand(_) => PolicyName::Demand,
            Self::Threshold(_) => PolicyName::Threshold,
        }
    }

    /// Decides how many instances there should be. Call it at regular intervals of a few seconds. `state` is updated for the next
    /// call, which may be in another process.
    pub fn decide(&self, state: &mut State, seen: &Observation, now: Timestamp) -> Decision {
        let decision = match self {
            Self::Demand(demand) => demand.decide(state, seen, now),
            Self::Threshold(threshold) => threshold.decide(state, seen, now),
        };
        if decision.changes() {
            state.last_action_at = Some(now);
        }
        decision
    }
}

impl PolicyName {
    /// All policies.
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
    /// The names of all policies, in snake case.
    pub const NAMES: &[&str] = <Self as strum::VariantNames>::VARIANTS;

    /// Returns the name, in snake case.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The text is not the name of a policy.
#[derive(Debug, thiserror::Error)]
#[error("unknown policy; use {}", PolicyName::NAMES.join(", "))]
pub struct UnknownPolicy;

impl UnknownPolicy {
    fn new(_: &str) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests;
