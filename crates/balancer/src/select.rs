//! Picks a candidate by its score.

use super::{candidate::Candidate, measured::Rates, moment::Moment};

/// Returns the index of the lowest score; ties are broken at random.
pub(super) fn min_by_score(candidates: &[Candidate], score: impl Fn(&Candidate) -> f64) -> usize {
    let (mut best, mut lowest, mut ties, mut random) = (0, f64::INFINITY, 0, 0);
    for (index, candidate) in candidates.iter().enumerate() {
        let score = score(candidate);
        if score < lowest {
            (best, lowest, ties) = (index, score, 1);
        } else if score == lowest {
            ties += 1;
            random = if random == 0 { fastrand::u64(1..) } else { next_random(random) };
            // Reservoir sampling: each of the ties has the same chance.
            if ((random >> 32) * ties) >> 32 == 0 {
                best = index;
            }
        }
    }
    best
}

/// Returns the next number of Knuth's MMIX generator, which is random enough to break ties.
fn next_random(random: u64) -> u64 {
    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

/// Returns the better of two random indexes below `count` (power of two choices, Mitzenmacher 2001).
pub(super) fn better_of_two(count: usize, score: impl Fn(usize) -> f64) -> usize {
    if count == 1 {
        return 0;
    }
    // Both indexes come from one random number, whose halves are mapped to ranges as in Lemire 2019.
    let random = fastrand::u64(..);
    let first = ((u64::from(random as u32) * count as u64) >> 32) as usize;
    let step = (((random >> 32) * (count as u64 - 1)) >> 32) as usize;
    let second = if first + 1 + step < count { first + 1 + step } else { first + 1 + step - count };
    if score(second) < score(first) { second } else { first }
}

/// Returns the score of `health_based`: load, latency in seconds up to one, and 1/weight.
pub(super) fn health_score(candidate: &Candidate, typical: f64, now: Moment, rates: &Rates) -> f64 {
    let spec = candidate.node.spec();
    let load = candidate.in_flight() as f64 / f64::from(spec.max_connections.max(1));
    load + candidate.measured.mean_now(typical, now, rates).min(1.0) + 1.0 / f64::from(candidate.node.weight())
}

/// Returns the score of `peak_ewma`: the latency times the requests in flight including this one, divided by the weight.
pub(super) fn peak_score(candidate: &Candidate, now: Moment, rates: &Rates) -> f64 {
    // Keeps the load relevant when all latencies have decayed to 0.
    const MIN_NANOS: f32 = 1000.0;
    let latency = candidate.measured.peak(now, rates) + MIN_NANOS;
    f64::from(latency * (candidate.in_flight() + 1) as f32 / candidate.weight)
}

/// Returns the median; 0 of no values.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(middle, f64::total_cmp).1 }
}
