//! The minimum cost of a run without violations.

use super::{Arrivals, Settings};

/// Returns the minimum of node-seconds without violations, except in seconds that exceed the capacity of the maximum number of
/// instances. The optimum knows the future, may change the number every second, and pays for an instance from its start.
///
/// The instances needed in each second form layers: layer k is needed while k or more instances are. Between two times that a
/// layer is needed, its instance is either kept, or ended and started again in time, which costs the start-up delay; the
/// cheaper of both is optimal. Layers are independent, as each one is needed only when those below it are. Before its first
/// use an instance may have been there from the beginning, and after its last use it costs nothing.
pub(super) fn min_node_seconds(arrivals: &Arrivals, settings: &Settings) -> u64 {
    let delay = settings.startup_delay.as_secs();
    // The second after the last one in which each layer was needed.
    let mut needed_until: Vec<u64> = Vec::new();
    let (mut total, mut before) = (0, 0);
    for second in 0..arrivals.seconds() {
        let needed = settings.bounds.clamp((arrivals.at(second) as f64 / settings.capacity).ceil() as u32) as usize;
        let now = second as u64;
        needed_until.resize(needed_until.len().max(needed), 0);
        for layer in &mut needed_until[needed.min(before)..before] {
            *layer = now;
        }
        for layer in &needed_until[before.min(needed)..needed] {
            total += delay.min(now - layer);
        }
        total += needed as u64;
        before = needed;
    }
    total
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use symbolon_scaler::Bounds;

    use super::super::Fleet;
    use super::*;

    fn settings(delay: u64, bounds: Bounds) -> Settings {
        let startup_delay = Duration::from_secs(delay);
        Settings { capacity: 10.0, startup_delay, metric_lag: Duration::ZERO, bounds }
    }

    /// Returns the minimum over all sequences of 1 to 3 instances, by exhaustive search.
    fn exhaustive_minimum(arrivals: &[u64], delay: u64) -> Option<u64> {
        let sequences = 3_u32.pow(arrivals.len() as u32);
        let cost = |sequence: u32, first: u32| {
            let mut fleet = Fleet::new(first);
            arrivals.iter().enumerate().try_fold(0, |cost, (now, arrived)| {
                fleet.advance(now);
                fleet.set(1 + sequence / 3_u32.pow(now as u32) % 3, now, delay as usize);
                fleet.advance(now);
                (*arrived <= u64::from(fleet.ready()) * 10).then(|| cost + u64::from(fleet.count()))
            })
        };
        (0..sequences).filter_map(|sequence| (1..=3).filter_map(|first| cost(sequence, first)).min()).min()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_minimum_equals_that_of_an_exhaustive_search(
            arrivals in proptest::collection::vec(0..=30_u64, 1..8), delay in 0..4_u64
        ) {
            let bounds = Bounds::new(1, 3).unwrap();
            let minimum = min_node_seconds(&Arrivals::from_counts(arrivals.clone()), &settings(delay, bounds));
            prop_assert_eq!(Some(minimum), exhaustive_minimum(&arrivals, delay));
        }
    }

    #[test]
    fn seconds_beyond_the_maximum_capacity_are_left_out() {
        let bounds = Bounds::new(1, 2).unwrap();
        assert_eq!(min_node_seconds(&Arrivals::from_counts([5, 100, 5]), &settings(0, bounds)), 4);
    }
}
