//! The contenders of a simulation: the policies of `symbolon-scaler`, and other autoscalers for comparison.

use std::time::Duration;

use serde::Serialize;
use symbolon_scaler::{Connections, Observation, Policy, PolicyName, State, Timestamp};

use super::{Hpa, Kpa, View, hpa, kpa};

/// The interval of decisions of the policies of `symbolon-scaler`.
pub const DECIDE_EVERY: Duration = Duration::from_secs(DECIDE_SECONDS as u64);
const DECIDE_SECONDS: usize = 5;
/// The connections of an instance; only the used share matters.
const CONNECTIONS: u64 = 1_000_000;

/// The name of a contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::Display, strum::EnumString, strum::IntoStaticStr, strum::VariantArray, strum::VariantNames)]
#[strum(serialize_all = "snake_case", parse_err_ty = UnknownContender, parse_err_fn = UnknownContender::new)]
pub enum ContenderName {
    /// The demand policy of `symbolon-scaler`.
    Demand,
    /// The threshold policy of `symbolon-scaler`.
    Threshold,
    /// Kubernetes' Horizontal Pod Autoscaler.
    Hpa,
    /// Knative's Pod Autoscaler.
    Kpa,
}

/// A contender with its parameters and state.
#[derive(Debug, Clone)]
pub enum Contender {
    /// A policy of `symbolon-scaler`.
    Ours {
        /// The policy.
        policy: Policy,
        /// The target utilization, which divides the demand that the policy sees.
        target: f64,
        /// The state between decisions.
        state: Box<State>,
    },
    /// See [`ContenderName::Hpa`].
    Hpa(Hpa),
    /// See [`ContenderName::Kpa`].
    Kpa(Kpa),
}

impl Contender {
    /// Makes a contender of a policy and its target utilization.
    pub fn ours(policy: Policy, target: f64) -> Self {
        Self::Ours { policy, target, state: Box::default() }
    }

    /// Returns the name.
    pub fn name(&self) -> ContenderName {
        match self {
            Self::Ours { policy, .. } => match policy.name() {
                PolicyName::Demand => ContenderName::Demand,
                PolicyName::Threshold => ContenderName::Threshold,
            },
            Self::Hpa(_) => ContenderName::Hpa,
            Self::Kpa(_) => ContenderName::Kpa,
        }
    }

    /// Returns the target utilization; for `threshold`, the utilization above which it adds an instance.
    pub fn target(&self) -> f64 {
        match self {
            Self::Ours { target, .. } => *target,
            Self::Hpa(hpa) => hpa.target,
            Self::Kpa(kpa) => kpa.target,
        }
    }

    /// Returns the interval of decisions, in seconds.
    pub(super) fn interval(&self) -> usize {
        match self {
            Self::Ours { .. } => DECIDE_SECONDS,
            Self::Hpa(_) => hpa::SYNC_SECONDS,
            Self::Kpa(_) => kpa::TICK_SECONDS,
        }
    }

    /// Returns the wanted number of instances.
    pub(super) fn decide(&mut self, view: &View<'_>) -> u32 {
        match self {
            Self::Ours { policy, target, state } => {
                let seen = observe(view, *target);
                policy.decide(state, &seen, Timestamp::from_millis(view.now as i64 * 1000)).to
            }
            Self::Hpa(hpa) => hpa.decide(view),
            Self::Kpa(kpa) => kpa.decide(view),
        }
    }
}

fn observe(view: &View<'_>, target: f64) -> Observation {
    let (ready, offered) = (view.fleet.ready(), view.offered(DECIDE_SECONDS));
    // Requests beyond the capacity are rejected, so they use no connection.
    let used = (offered / f64::from(ready.max(1))).min(1.0) * CONNECTIONS as f64;
    let connections = u64::from(ready) * CONNECTIONS;
    Observation {
        ready,
        starting: view.fleet.starting(),
        connections: vec![Connections { current: (used * f64::from(ready)) as u64, max: connections }],
        demand: Some(offered / target),
        ..Observation::default()
    }
}

impl ContenderName {
    /// All contenders.
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
    /// The names of all contenders, in snake case.
    pub const NAMES: &[&str] = <Self as strum::VariantNames>::VARIANTS;

    /// Returns the name, in snake case.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The text is not the name of a contender.
#[derive(Debug, thiserror::Error)]
#[error("unknown policy; use {}", ContenderName::NAMES.join(", "))]
pub struct UnknownContender;

impl UnknownContender {
    fn new(_: &str) -> Self {
        Self
    }
}
