//! How many instances there should be, and how large. Pure: what is seen goes in with the time, a decision comes out.
//!
//! What serves and what `symbolon simulate scaling` replays is the same code: [`Policy::decide`]. All that a policy
//! remembers is in [`State`], a small value that another decider can take over; one that starts without it decides a
//! little worse for a few minutes, and never wrongly. What always holds:
//!
//! - a decision never leads out of the bounds, nor further out of them;
//! - while a store is the bottleneck the fleet does not grow: more instances would only press it harder;
//! - who does not know the demand holds what there is;
//! - every decision says why, with the numbers it was made from.

mod bounds;
mod decision;
pub mod demand;
mod observation;
mod rule;
pub mod simulation;
mod state;
pub mod threshold;
pub mod vertical;

use std::{fmt, str::FromStr};

pub use bounds::{Bounds, InvalidBounds};
pub use decision::{Decision, Numbers, Outcome};
pub use demand::Demand;
pub use observation::{Connections, Observation};
pub use rule::{InvalidRule, Measure, Rule};
use serde::{Deserialize, Serialize};
pub use state::State;
pub use threshold::Threshold;

use crate::clock::Timestamp;

/// The policies by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyName {
    /// What the offered requests need, a short look ahead, and instances kept until they are surely not needed.
    Demand,
    /// One instance more above 80 % of connections, one less below 30 %, then a pause (the seed's).
    Threshold,
}

/// By what the number of instances is decided.
#[derive(Debug, Clone, PartialEq)]
pub enum Policy {
    /// See [`PolicyName::Demand`].
    Demand(Demand),
    /// See [`PolicyName::Threshold`].
    Threshold(Threshold),
}

impl Policy {
    /// A policy with its default parameters.
    pub fn new(name: PolicyName, bounds: Bounds) -> Self {
        match name {
            PolicyName::Demand => Self::Demand(Demand::new(bounds)),
            PolicyName::Threshold => Self::Threshold(Threshold::new(bounds)),
        }
    }

    /// Which one this is.
    pub fn name(&self) -> PolicyName {
        match self {
            Self::Demand(_) => PolicyName::Demand,
            Self::Threshold(_) => PolicyName::Threshold,
        }
    }

    /// How many instances there should be from now on. Call it at even intervals of a few seconds; the state it leaves is
    /// the one for the next call, here or at whoever decides next.
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
    /// Every policy.
    pub const ALL: [Self; 2] = [Self::Demand, Self::Threshold];

    /// Its name in settings, API and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Demand => "demand",
            Self::Threshold => "threshold",
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A policy that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("unknown policy; use {}", PolicyName::ALL.map(PolicyName::name).join(", "))]
pub struct UnknownPolicy;

impl FromStr for PolicyName {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|policy| policy.name() == text).ok_or(UnknownPolicy)
    }
}

#[cfg(test)]
mod tests;
