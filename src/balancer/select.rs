//! How one of several is picked by a score.

use std::{sync::Arc, time::Instant};

use super::Node;

/// The node of the lowest score; of several, any of them.
pub(super) fn least(nodes: &[Arc<Node>], score: impl Fn(&Node) -> f64) -> usize {
    let (mut best, mut lowest, mut ties) = (0, f64::INFINITY, 0);
    for (index, node) in nodes.iter().enumerate() {
        let score = score(node);
        if score < lowest {
            (best, lowest, ties) = (index, score, 1);
        } else if score == lowest {
            ties += 1;
            // Each of so many is kept with the same chance.
            if fastrand::u32(..ties) == 0 {
                best = index;
            }
        }
    }
    best
}

/// The better of two that are picked at random (Mitzenmacher 2001).
pub(super) fn better_of_two(count: usize, score: impl Fn(usize) -> f64) -> usize {
    let first = fastrand::usize(..count);
    if count == 1 {
        return first;
    }
    let second = (first + 1 + fastrand::usize(..count - 1)) % count;
    if score(second) < score(first) { second } else { first }
}

/// The seed's score: load, latency in seconds up to one, and 1/weight.
pub(super) fn health(node: &Node, unmeasured: f64) -> f64 {
    let spec = node.spec();
    let load = node.in_flight() as f64 / f64::from(spec.max_connections.max(1));
    load + node.mean().unwrap_or(unmeasured).min(1.0) + 1.0 / f64::from(node.weight())
}

/// What one more request would cost: the latency for all that are there with it, by weight.
pub(super) fn cost(node: &Node, now: Instant) -> f64 {
    // So that load counts where all latencies have decayed to nothing.
    const LEAST_NANOS: f64 = 1000.0;
    let latency = node.peak(now).map_or(0.0, f64::from) + LEAST_NANOS;
    latency * (node.in_flight() + 1) as f64 / f64::from(node.weight())
}

/// The middle one of what is known.
pub(super) fn median(mut known: Vec<f64>) -> f64 {
    let middle = known.len() / 2;
    if known.is_empty() { 0.0 } else { *known.select_nth_unstable_by(middle, f64::total_cmp).1 }
}
