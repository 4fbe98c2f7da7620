//! Comparison at equal cost: each contender has a frontier of violations over node-seconds, by its target.

use serde::Serialize;

use super::{ContenderName, Report};

/// The violations of two contenders at the same cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// The other contender.
    pub policy: ContenderName,
    /// The cost of both, in node-seconds.
    pub node_seconds: u64,
    /// Violation seconds of the first contender.
    pub violation_seconds: f64,
    /// Violation seconds of the other contender, interpolated between its runs of the next lower and higher cost; none without
    /// one of them.
    pub other_violation_seconds: Option<f64>,
}

/// Compares each run of a contender with the frontier of another.
pub fn compare(runs: &[Report], others: &[Report]) -> Vec<Comparison> {
    let mut frontier: Vec<(f64, f64)> =
        others.iter().map(|report| (report.node_seconds as f64, report.violation_seconds as f64)).collect();
    frontier.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Some(policy) = others.first().map(|report| report.policy) else { return Vec::new() };
    runs.iter()
        .map(|run| Comparison {
            policy,
            node_seconds: run.node_seconds,
            violation_seconds: run.violation_seconds as f64,
            other_violation_seconds: interpolate(&frontier, run.node_seconds as f64),
        })
        .collect()
}

fn interpolate(points: &[(f64, f64)], at: f64) -> Option<f64> {
    let above = points.partition_point(|point| point.0 < at);
    let (x1, y1) = *points.get(above)?;
    if x1 == at {
        return Some(y1);
    }
    let (x0, y0) = *points.get(above.checked_sub(1)?)?;
    Some(y0 + (y1 - y0) * (at - x0) / (x1 - x0))
}
