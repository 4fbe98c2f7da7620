//! How one of several is picked by a score.

use super::{measured::Rates, moment::Moment, snapshot::Candidate};

/// The one of the lowest score; of several, any of them.
pub(super) fn least(candidates: &[Candidate], score: impl Fn(&Candidate) -> f64) -> usize {
    let (mut best, mut lowest, mut ties, mut random) = (0, f64::INFINITY, 0, 0);
    for (index, candidate) in candidates.iter().enumerate() {
        let score = score(candidate);
        if score < lowest {
            (best, lowest, ties) = (index, score, 1);
        } else if score == lowest {
            ties += 1;
            random = if random == 0 { fastrand::u64(1..) } else { next_random(random) };
            // Each of so many is kept with the same chance.
            if ((random >> 32) * ties) >> 32 == 0 {
                best = index;
            }
        }
    }
    best
}

/// The next of a sequence that is random enough to break ties (Knuth's MMIX generator).
fn next_random(random: u64) -> u64 {
    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

/// The better of two that are picked at random (Mitzenmacher 2001).
pub(super) fn better_of_two(count: usize, score: impl Fn(usize) -> f64) -> usize {
    if count == 1 {
        return 0;
    }
    // One number gives both: its halves are mapped to the ranges as Lemire 2019 does.
    let random = fastrand::u64(..);
    let first = ((u64::from(random as u32) * count as u64) >> 32) as usize;
    let step = (((random >> 32) * (count as u64 - 1)) >> 32) as usize;
    let second = if first + 1 + step < count { first + 1 + step } else { first + 1 + step - count };
    if score(second) < score(first) { second } else { first }
}

/// The seed's score: load, latency in seconds up to one, and 1/weight.
pub(super) fn health(candidate: &Candidate, usual: f64, now: Moment, rates: &Rates) -> f64 {
    let spec = candidate.node.spec();
    let load = candidate.in_flight() as f64 / f64::from(spec.max_connections.max(1));
    load + candidate.measured.mean_now(usual, now, rates).min(1.0) + 1.0 / f64::from(candidate.node.weight())
}

/// What one more request would cost: the latency for all that are there with it, by weight.
pub(super) fn cost(candidate: &Candidate, now: Moment, rates: &Rates) -> f64 {
    // So that load counts where all latencies have decayed to nothing.
    const LEAST_NANOS: f32 = 1000.0;
    let latency = candidate.measured.peak(now, rates) + LEAST_NANOS;
    f64::from(latency * (candidate.in_flight() + 1) as f32 / candidate.weight)
}

/// The middle one of what is known.
pub(super) fn median(mut known: Vec<f64>) -> f64 {
    let middle = known.len() / 2;
    if known.is_empty() { 0.0 } else { *known.select_nth_unstable_by(middle, f64::total_cmp).1 }
}
