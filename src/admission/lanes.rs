//! Requests by the shard that they need, so that those of a slow shard neither pass for a slow process nor take every place.

use std::time::Duration;

use super::latency::{Latency, Load, Slowdown, tolerance};

/// What of a request is known beforehand to tell how long it should take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It changes nothing.
    Read,
    /// It may.
    Change,
}

/// Requests that should take the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub lane: usize,
    pub kind: Kind,
}

/// The lanes. The first is of requests that need no shard; a shard's is made when it is first asked for, and stays.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// How many are under way on lanes that don't hang.
    competing: usize,
}

#[derive(Debug, Default)]
struct Lane {
    shard: String,
    in_flight: usize,
    /// Of reads and changes.
    latencies: [Latency; 2],
    /// Whether it is slower than the others by itself,
    slow: bool,
    /// so much so that nothing ends.
    hung: bool,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self { lanes: vec![Lane::default()], competing: 0 }
    }

    pub(super) fn of(&mut self, shard: Option<&str>) -> usize {
        let Some(shard) = shard else { return 0 };
        let known = self.lanes.iter().skip(1).position(|lane| lane.shard == shard);
        known.map_or_else(
            || {
                self.lanes.push(Lane { shard: shard.to_owned(), ..Lane::default() });
                self.lanes.len() - 1
            },
            |index| index + 1,
        )
    }

    pub(super) fn enter(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        lane.in_flight += 1;
        self.competing += usize::from(!lane.hung);
    }

    pub(super) fn exit(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        lane.in_flight -= 1;
        self.competing -= usize::from(!lane.hung);
    }

    /// How many are under way that compete for this process: those that wait for a shard that hangs don't.
    pub(super) fn competing(&self) -> usize {
        self.competing
    }

    /// How much of a whole one lane may have: a shard nearly twice its share, so that the others go on when it hangs.
    pub(super) fn part(&self, lane: usize, whole: usize) -> usize {
        let shards = self.lanes.len() - 1;
        if lane == 0 || shards < 2 { whole } else { (2 * whole).div_ceil(shards + 1) }
    }

    /// Whether a lane has places left, if there are so many in all. One that hangs has its own, and takes none from the others.
    pub(super) fn has_room(&self, lane: usize, limit: usize) -> bool {
        let Lane { in_flight, hung, .. } = self.lanes[lane];
        in_flight < self.part(lane, limit) && (hung || self.competing < limit)
    }

    pub(super) fn is_slow(&self, lane: usize) -> bool {
        self.lanes[lane].slow
    }

    pub(super) fn record(&mut self, group: Group, took: Duration) {
        let lane = &mut self.lanes[group.lane];
        lane.latencies[group.kind as usize].record(took);
        if std::mem::take(&mut lane.hung) {
            self.competing += lane.in_flight;
        }
    }

    /// Ends a window, and finds out who is slow; returns what slows everyone, the least of what slows anyone.
    pub(super) fn close(&mut self, load: Load, limit: usize) -> Option<Slowdown> {
        let own: Vec<Option<Slowdown>> = self
            .lanes
            .iter_mut()
            .map(|lane| {
                let [read, change] = &mut lane.latencies;
                least(read.close(load), change.close(load))
            })
            .collect();
        let all = own.iter().copied().fold(None, least);
        let (delay, most) = (all.map(|all| all.delay).unwrap_or_default(), self.part(1, limit));
        for (lane, own) in self.lanes.iter_mut().zip(own).skip(1) {
            lane.hung = own.is_none() && lane.in_flight >= most;
            lane.slow = lane.hung || own.is_some_and(|own| own.delay > delay + tolerance(own.baseline));
        }
        self.competing = self.lanes.iter().filter(|lane| !lane.hung).map(|lane| lane.in_flight).sum();
        all
    }
}

fn least(one: Option<Slowdown>, other: Option<Slowdown>) -> Option<Slowdown> {
    match (one, other) {
        (Some(one), Some(other)) => {
            Some(Slowdown { baseline: one.baseline.min(other.baseline), delay: one.delay.min(other.delay) })
        }
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Ends a window in which each lane's reads took so long.
    fn window(lanes: &mut Lanes, took: &[Duration]) -> Slowdown {
        for (lane, took) in took.iter().enumerate() {
            (0..10).for_each(|_| lanes.record(Group { lane, kind: Kind::Read }, *took));
        }
        lanes.close(Load::Heavy, 8).expect("enough samples")
    }

    #[test]
    fn what_delays_one_shard_delays_not_everyone() {
        let mut lanes = Lanes::new();
        assert_eq!(["a", "b", "a"].map(|shard| lanes.of(Some(shard))), [1, 2, 1]);
        window(&mut lanes, &[MS, 5 * MS, 9 * MS]);
        let all = window(&mut lanes, &[3 * MS, 7 * MS, 90 * MS]);
        assert_eq!(all, Slowdown { baseline: MS, delay: 2 * MS });
        assert_eq!([1, 2].map(|lane| lanes.is_slow(lane)), [false, true]);
        window(&mut lanes, &[MS, 5 * MS, 9 * MS]);
        assert!(!lanes.is_slow(2));
    }

    #[test]
    fn a_full_lane_in_which_nothing_ends_hangs_and_takes_no_place_from_the_others() {
        let mut lanes = Lanes::new();
        let [first, second] = ["a", "b"].map(|shard| lanes.of(Some(shard)));
        while lanes.has_room(second, 8) {
            lanes.enter(second);
        }
        window(&mut lanes, &[MS, MS]);
        assert!(lanes.is_slow(second) && !lanes.is_slow(first));
        assert!(lanes.has_room(first, 8) && lanes.has_room(0, 8));
        (0..8).for_each(|_| lanes.enter(0));
        assert_eq!(lanes.competing(), 8, "those of the lane that hangs compete with nobody");
        assert!(!lanes.has_room(first, 8) && lanes.has_room(first, 9));
        lanes.exit(second);
        assert!(lanes.has_room(second, 8), "it has its own places");
        (0..8).for_each(|_| lanes.exit(0));
        window(&mut lanes, &[MS, MS, MS]);
        assert!(!lanes.is_slow(second) && lanes.competing() > 0);
    }
}
