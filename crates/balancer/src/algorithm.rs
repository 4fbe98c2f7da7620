//! Load-balancing algorithms.

use serde::{Deserialize, Serialize};

/// Load-balancing algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::Display, strum::EnumString, strum::IntoStaticStr, strum::VariantArray, strum::VariantNames)]
#[strum(serialize_all = "snake_case", parse_err_ty = UnknownAlgorithm, parse_err_fn = UnknownAlgorithm::new)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub enum Algorithm {
    /// Nodes in turn.
    RoundRobin,
    /// Nodes in turn, as often as their weights say, spread out (smooth weighted round robin, as in nginx).
    WeightedRoundRobin,
    /// The node with the fewest requests in flight.
    LeastConnections,
    /// The node with the lowest mean of its last ten response times.
    LeastResponseTime,
    /// The first node on the MD5 ring at or after the key that is not overloaded (bounded loads: Mirrokni, Thorup and
    /// Zadimoghaddam 2018).
    Hash,
    /// A node in the caller's zone, else in its region, else anywhere.
    Geographic,
    /// The node with the lowest sum of load, latency and 1/weight.
    HealthBased,
    /// The node with the lowest latency × (requests in flight + 1) ÷ weight. The latency rises at once and decays with time
    /// (as in Finagle).
    PeakEwma,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
    /// The names of all algorithms, in snake case.
    pub const NAMES: &[&str] = <Self as strum::VariantNames>::VARIANTS;

    /// Returns the name, in snake case.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The text is not the name of an algorithm.
#[derive(Debug, thiserror::Error)]
#[error("unknown algorithm; use {}", Algorithm::NAMES.join(", "))]
pub struct UnknownAlgorithm;

impl UnknownAlgorithm {
    fn new(_: &str) -> Self {
        Self
    }
}
