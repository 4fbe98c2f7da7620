//! The least that a run without a violation can cost.

use super::{Arrivals, Settings};

/// The least node-seconds with which no second is a violation, save those in which more arrive than the greatest number of
/// instances can serve: by whoever knows the future, may change the number every second, and pays for an instance from
/// its start.
///
/// In each second so many instances are needed. Take them as layers: the k-th one is needed while k or more are. Between
/// two times that it is needed it is either kept, or ended and started again in time, which costs the start-up delay;
/// the cheaper of both is the least, and layers don't depend on each other as each is needed only when those below it are.
/// Before its first time it may have been there from the beginning, after its last time it costs nothing.
pub(super) fn least_node_seconds(arrivals: &Arrivals, settings: &Settings) -> u64 {
    let delay = settings.startup_delay.as_secs();
    // When each layer was last needed: the second after.
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

    /// The least that any sequence of numbers from 1 to 3 costs without a violation, tried one by one.
    fn tried(arrivals: &[u64], delay: u64) -> Option<u64> {
        let sequences = 3_u32.pow(arrivals.len() as u32);
        let cost = |sequence: u32, first: u32| {
            let mut fleet = Fleet::new(first);
            arrivals.iter().enumerate().try_fold(0, |cost, (now, arrived)| {
                fleet.pass(now);
                fleet.set(1 + sequence / 3_u32.pow(now as u32) % 3, now, delay as usize);
                fleet.pass(now);
                (*arrived <= u64::from(fleet.ready()) * 10).then(|| cost + u64::from(fleet.count()))
            })
        };
        (0..sequences).filter_map(|sequence| (1..=3).filter_map(|first| cost(sequence, first)).min()).min()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// The last seconds need all: what is started too late to serve would otherwise be cheaper than is counted.
        #[test]
        fn it_is_what_the_best_of_all_sequences_costs(
            arrivals in proptest::collection::vec(0..=30_u64, 1..8), delay in 0..4_u64
        ) {
            let bounds = Bounds::new(1, 3).unwrap();
            let least = least_node_seconds(&Arrivals::from_counts(arrivals.clone()), &settings(delay, bounds));
            prop_assert_eq!(Some(least), tried(&arrivals, delay));
        }
    }

    #[test]
    fn what_nobody_can_serve_is_left_out() {
        let bounds = Bounds::new(1, 2).unwrap();
        assert_eq!(least_node_seconds(&Arrivals::from_counts([5, 100, 5]), &settings(0, bounds)), 4);
    }
}
