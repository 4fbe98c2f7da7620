//! Who is put into the simulated world: our policies, and the autoscalers that they are compared with.

use std::time::Duration;

use serde::Serialize;
use symbolon_scaler::{Connections, Observation, Policy, PolicyName, State, Timestamp};

use super::{Hpa, Kpa, View, hpa, kpa};

/// How often our policies decide.
pub const DECIDE_EVERY: Duration = Duration::from_secs(DECIDE_SECONDS as u64);
const DECIDE_SECONDS: usize = 5;
/// How many places an instance of ours has; only the part that is taken matters.
const PLACES: u64 = 1_000_000;

/// The contenders by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::Display, strum::EnumString, strum::IntoStaticStr, strum::VariantArray, strum::VariantNames)]
#[strum(serialize_all = "snake_case", parse_err_ty = UnknownContender, parse_err_fn = UnknownContender::new)]
pub enum ContenderName {
    /// Our default policy.
    Demand,
    /// The seed's policy.
    Threshold,
    /// Kubernetes' Horizontal Pod Autoscaler.
    Hpa,
    /// Knative's Pod Autoscaler.
    Kpa,
}

/// One of them, ready to begin.
#[derive(Debug, Clone)]
pub enum Contender {
    /// A policy of ours, which serves too.
    Ours {
        /// The policy.
        policy: Policy,
        /// Which part of an instance's capacity is full use to it.
        target: f64,
        /// What it remembers.
        state: Box<State>,
    },
    /// See [`ContenderName::Hpa`].
    Hpa(Hpa),
    /// See [`ContenderName::Kpa`].
    Kpa(Kpa),
}

impl Contender {
    /// A policy of ours. The target divides the demand that it sees.
    pub fn ours(policy: Policy, target: f64) -> Self {
        Self::Ours { policy, target, state: Box::default() }
    }

    /// Which one this is.
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

    /// Which part of an instance's capacity it aims at; for `threshold`, the part above which it grows.
    pub fn target(&self) -> f64 {
        match self {
            Self::Ours { target, .. } => *target,
            Self::Hpa(hpa) => hpa.target,
            Self::Kpa(kpa) => kpa.target,
        }
    }

    /// Every how many seconds it decides.
    pub(super) fn interval(&self) -> usize {
        match self {
            Self::Ours { .. } => DECIDE_SECONDS,
            Self::Hpa(_) => hpa::SYNC_SECONDS,
            Self::Kpa(_) => kpa::TICK_SECONDS,
        }
    }

    /// How many instances it wants.
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
    // What is beyond the capacity is refused, so it takes no place.
    let taken = (offered / f64::from(ready.max(1))).min(1.0) * PLACES as f64;
    let places = u64::from(ready) * PLACES;
    Observation {
        ready,
        starting: view.fleet.starting(),
        connections: vec![Connections { current: (taken * f64::from(ready)) as u64, max: places }],
        demand: Some(offered / target),
        ..Observation::default()
    }
}

impl ContenderName {
    /// Everybody.
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
    /// The names of all contenders, in snake case.
    pub const NAMES: &[&str] = <Self as strum::VariantNames>::VARIANTS;

    /// The name on the command line and in output.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A contender that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("unknown policy; use {}", ContenderName::NAMES.join(", "))]
pub struct UnknownContender;

impl UnknownContender {
    fn new(_: &str) -> Self {
        Self
    }
}
