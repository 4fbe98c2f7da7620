//! Whose turn it is by weight.
//!
//! The turns of small sums of weights are laid out as nginx does (smooth weighted round robin): each cycle gives every node
//! as many turns as its weight, spread out. For larger sums turns are points on a line that the weights divide, in steps
//! of the golden ratio: no point falls near the last ones, and the share of every node is right to within a few turns at
//! any time, whatever the weights.

/// The longest cycle that is laid out.
const LONGEST: u64 = 4096;

/// Turns by weight.
#[derive(Debug)]
pub(super) enum Schedule {
    /// Whose turn it is, for a whole cycle.
    Cycle(Box<[u32]>),
    /// Where each node's stretch of 0..1 ends, as a part of 2^64.
    Line(Box<[u64]>),
}

impl Schedule {
    pub(super) fn new(weights: &[u32]) -> Self {
        let divisor = weights.iter().copied().fold(0, gcd).max(1);
        let weights: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
        let total: u64 = weights.iter().sum();
        if total <= LONGEST { Self::Cycle(smooth(&weights, total)) } else { Self::Line(line(&weights, total)) }
    }

    /// The node that has turn number `turn`.
    pub(super) fn node(&self, turn: u64) -> usize {
        /// 2^64 ÷ the golden ratio, made odd.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        match self {
            Self::Cycle(turns) if turns.is_empty() => 0,
            Self::Cycle(turns) => turns[(turn % turns.len() as u64) as usize] as usize,
            Self::Line(ends) => {
                let point = turn.wrapping_mul(STEP);
                ends.partition_point(|end| *end < point).min(ends.len() - 1)
            }
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn smooth(weights: &[u64], total: u64) -> Box<[u32]> {
    let mut standing = vec![0i64; weights.len()];
    (0..total)
        .map(|_| {
            let mut best = 0;
            for (index, weight) in weights.iter().enumerate() {
                standing[index] += weight.cast_signed();
                if standing[index] > standing[best] {
                    best = index;
                }
            }
            standing[best] -= total.cast_signed();
            best as u32
        })
        .collect()
}

fn line(weights: &[u64], total: u64) -> Box<[u64]> {
    let mut sum = 0;
    let end = |weight: &u64| {
        sum += weight;
        (u128::from(sum) * u128::from(u64::MAX) / u128::from(total)) as u64
    };
    weights.iter().map(end).collect()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::ProptestConfig, prop_assert, proptest};

    use super::*;

    fn turns(weights: &[u32], turns: u64) -> Vec<u64> {
        let schedule = Schedule::new(weights);
        let mut counts = vec![0; weights.len()];
        (0..turns).for_each(|turn| counts[schedule.node(turn)] += 1);
        counts
    }

    #[test]
    fn a_cycle_is_as_nginx_lays_it_out() {
        let schedule = Schedule::new(&[5, 1, 1]);
        let turns: Vec<usize> = (0..7).map(|turn| schedule.node(turn)).collect();
        assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(super::tests::turns(&[500, 100, 100], 7), [5, 1, 1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_node_gets_its_share_to_within_one_percent(weights in vec(1u32..1000, 1..60)) {
            const TURNS: u64 = 200_000;
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            for (count, weight) in turns(&weights, TURNS).into_iter().zip(&weights) {
                let due = TURNS as f64 * f64::from(*weight) / total as f64;
                // A cycle that is cut off, and the golden ratio, give a few turns more or less, however many there are.
                prop_assert!((count as f64 - due).abs() <= (0.01 * due).max(6.0), "{count} instead of {due}");
            }
        }
    }
}
