//! What happens to nodes.

use std::time::Duration;

use serde::Serialize;

/// When the faults begin.
const ONSET: Duration = Duration::from_secs(10);
/// How long a node that flaps is well, and how long it is not.
const FLAP: Duration = Duration::from_secs(5);

/// What is wrong, from the tenth second on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::Display, strum::EnumString, strum::IntoStaticStr, strum::VariantArray, strum::VariantNames)]
#[strum(serialize_all = "snake_case", parse_err_ty = UnknownScenario, parse_err_fn = UnknownScenario::new)]
pub enum Scenario {
    /// Nothing.
    Healthy,
    /// One node answers 500 at once, and its health check is none the wiser.
    Failing,
    /// One node is ten times slower.
    Slow,
    /// One node answers 500 for five seconds of every ten.
    Flapping,
    /// One node is new.
    New,
    /// Half of the nodes of one zone are gone.
    HalfAZone,
}

/// What a node does with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fault {
    /// How much longer it takes.
    pub slowness: f64,
    /// Whether it fails.
    pub fails: bool,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
    /// The names of all scenarios, in snake case.
    pub const NAMES: &[&str] = <Self as strum::VariantNames>::VARIANTS;

    /// Its name.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether the fault has begun.
    pub(super) fn is_on(self, time: Duration) -> bool {
        time >= ONSET
    }

    /// Whether it is about this node: the first one, or for a zone the half that is left of it.
    pub(super) fn is_in_question(self, node: usize, nodes: usize) -> bool {
        match self {
            Self::HalfAZone => node.is_multiple_of(2) && !is_gone(node, nodes),
            _ => node == 0,
        }
    }

    /// Whether a node has been added.
    pub(super) fn is_there(self, node: usize, time: Duration) -> bool {
        self != Self::New || node != 0 || self.is_on(time)
    }

    /// Whether a health check fails.
    pub(super) fn is_down(self, node: usize, nodes: usize, time: Duration) -> bool {
        self == Self::HalfAZone && self.is_on(time) && is_gone(node, nodes)
    }

    pub(super) fn fault(self, node: usize, nodes: usize, time: Duration) -> Fault {
        const AT_ONCE: Fault = Fault { slowness: 0.01, fails: true };
        let well = Fault { slowness: 1.0, fails: false };
        let off = (time.as_nanos() / FLAP.as_nanos()).is_multiple_of(2);
        match self {
            _ if !self.is_on(time) => well,
            Self::Failing if node == 0 => AT_ONCE,
            Self::Slow if node == 0 => Fault { slowness: 10.0, fails: false },
            Self::Flapping if node == 0 && off => AT_ONCE,
            Self::HalfAZone if is_gone(node, nodes) => AT_ONCE,
            _ => well,
        }
    }
}

/// Whether a node is of the half of the first zone that goes: every second node is in that zone.
fn is_gone(node: usize, nodes: usize) -> bool {
    node.is_multiple_of(2) && node < nodes / 2
}

/// A scenario that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("unknown scenario; use {}", Scenario::NAMES.join(", "))]
pub struct UnknownScenario;

impl UnknownScenario {
    fn new(_: &str) -> Self {
        Self
    }
}
