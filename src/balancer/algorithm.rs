//! The algorithms by name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// By what a node is picked: the seed's seven, and `peak_ewma`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// One after the other.
    RoundRobin,
    /// One after the other, as often as their weights say, spread out (nginx's smooth sequence).
    WeightedRoundRobin,
    /// The fewest requests in flight.
    LeastConnections,
    /// The lowest mean of the last ten response times.
    LeastResponseTime,
    /// The first on the MD5 ring at or after the key that is not overloaded (Mirrokni, Thorup, Zadimoghaddam 2018).
    Hash,
    /// In the caller's zone, else in its region, else anywhere.
    Geographic,
    /// The lowest sum of load, latency and 1/weight.
    HealthBased,
    /// The lowest latency × (requests in flight + 1) ÷ weight; the latency rises at once and falls with time (Finagle).
    PeakEwma,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 8] = [
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::LeastConnections,
        Self::LeastResponseTime,
        Self::Hash,
        Self::Geographic,
        Self::HealthBased,
        Self::PeakEwma,
    ];

    /// Its name in settings, API and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::LeastConnections => "least_connections",
            Self::LeastResponseTime => "least_response_time",
            Self::Hash => "hash",
            Self::Geographic => "geographic",
            Self::HealthBased => "health_based",
            Self::PeakEwma => "peak_ewma",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An algorithm that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("unknown algorithm; use {}", Algorithm::ALL.map(Algorithm::name).join(", "))]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == text).ok_or(UnknownAlgorithm)
    }
}
