//! Faults of nodes.

use std::time::Duration;

use serde::Serialize;

/// The start of the faults.
const ONSET: Duration = Duration::from_secs(10);
/// The time between two changes of a flapping node.
const FLAP_INTERVAL: Duration = Duration::from_secs(5);

/// A fault that begins after ten seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::Display, strum::EnumString, strum::IntoStaticStr, strum::VariantArray, strum::VariantNames)]
#[strum(serialize_all = "snake_case", parse_err_ty = UnknownScenario, parse_err_fn = UnknownScenario::new)]
pub enum Scenario {
    /// No fault.
    Healthy,
    /// One node fails every request at once, and its health check does not notice.
    Failing,
    /// One node is ten times slower.
    Slow,
    /// One node fails every request for five seconds of every ten.
    Flapping,
    /// One node is added.
    New,
    /// Half of the nodes of one zone are down.
    HalfAZone,
}

/// The effect of a fault on a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fault {
    /// The factor of the service time.
    pub slowness: f64,
    /// Whether the request fails.
    pub fails: bool,
}

impl Scenario {
    /// All scenarios.
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
    /// The names of all scenarios, in snake case.
    pub const NAMES: &[&str] = <Self as strum::VariantNames>::VARIANTS;

    /// Returns the name, in snake case.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns whether the fault has begun.
    pub(super) fn is_active(self, time: Duration) -> bool {
        time >= ONSET
    }

    /// Returns whether a node is affected: the first one, or in `half_a_zone` the remaining nodes of the zone.
    pub(super) fn is_affected(self, node: usize, nodes: usize) -> bool {
        match self {
            Self::HalfAZone => node.is_multiple_of(2) && !is_removed(node, nodes),
            _ => node == 0,
        }
    }

    /// Returns whether a node has been added.
    pub(super) fn is_present(self, node: usize, time: Duration) -> bool {
        self != Self::New || node != 0 || self.is_active(time)
    }

    /// Returns whether a health check of a node fails.
    pub(super) fn is_down(self, node: usize, nodes: usize, time: Duration) -> bool {
        self == Self::HalfAZone && self.is_active(time) && is_removed(node, nodes)
    }

    pub(super) fn fault(self, node: usize, nodes: usize, time: Duration) -> Fault {
        const FAILS_FAST: Fault = Fault { slowness: 0.01, fails: true };
        let healthy = Fault { slowness: 1.0, fails: false };
        let is_failing = (time.as_nanos() / FLAP_INTERVAL.as_nanos()).is_multiple_of(2);
        match self {
            _ if !self.is_active(time) => healthy,
            Self::Failing if node == 0 => FAILS_FAST,
            Self::Slow if node == 0 => Fault { slowness: 10.0, fails: false },
            Self::Flapping if node == 0 && is_failing => FAILS_FAST,
            Self::HalfAZone if is_removed(node, nodes) => FAILS_FAST,
            _ => healthy,
        }
    }
}

/// Returns whether a node is in the half of the first zone that is down. Every second node is in that zone.
fn is_removed(node: usize, nodes: usize) -> bool {
    node.is_multiple_of(2) && node < nodes / 2
}

/// The text is not the name of a scenario.
#[derive(Debug, thiserror::Error)]
#[error("unknown scenario; use {}", Scenario::NAMES.join(", "))]
pub struct UnknownScenario;

impl UnknownScenario {
    fn new(_: &str) -> Self {
        Self
    }
}
