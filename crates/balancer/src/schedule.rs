//! Weighted round robin.
//!
//! For small sums of weights the turns of a whole cycle are computed in advance, as nginx does (smooth weighted round robin):
//! each cycle gives every node as many turns as its weight, spread out. For larger sums, turns are points on a line that the
//! weights divide, in steps of the golden ratio. Successive points are far apart, and the share of every node is exact to
//! within a few turns at any time.

/// The longest cycle that is computed in advance.
const MAX_CYCLE: u64 = 4096;

/// The order in which weighted nodes are picked.
#[derive(Debug)]
pub(super) enum Schedule {
    /// The node of each turn of a cycle.
    Cycle(Box<[u32]>),
    /// The end of each node's section of the line 0..1, in units of 2^-64.
    Line(Box<[u64]>),
}

impl Schedule {
    pub(super) fn new(weights: &[u32]) -> Self {
        let divisor = weights.iter().copied().fold(0, gcd).max(1);
        let weights: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
        let total: u64 = weights.iter().sum();
        if total <= MAX_CYCLE { Self::Cycle(smooth(&weights, total)) } else { Self::Line(line(&weights, total)) }
    }

    /// Returns the node of turn number `turn`.
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
    let mut credit = vec![0i64; weights.len()];
    (0..total)
        .map(|_| {
            let mut best = 0;
            for (index, weight) in weights.iter().enumerate() {
                credit[index] += weight.cast_signed();
                if credit[index] > credit[best] {
                    best = index;
                }
            }
            credit[best] -= total.cast_signed();
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
    fn a_cycle_equals_that_of_nginx() {
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
                // A partial cycle and the golden ratio give a few turns more or less, regardless of the number of turns.
                prop_assert!((count as f64 - due).abs() <= (0.01 * due).max(6.0), "{count} instead of {due}");
            }
        }
    }
}
