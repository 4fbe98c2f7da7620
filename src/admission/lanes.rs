//! Requests by the shard that they need, so that those of a slow shard neither pass for a slow process nor take every place.

use std::time::{Duration, Instant};

use super::{
    QUEUE_DEADLINE,
    latency::{Latency, Load, Slowdown, tolerance},
};
use crate::model::Network;

/// What of a request is known beforehand to tell how long it should take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It changes nothing.
    Read,
    /// It may.
    Change,
}

/// What is known of a request: whose it is, and which others should take the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub lane: usize,
    pub kind: Kind,
    pub client: Network,
}

/// One in so many places is kept for clients that hold fewer than are kept.
const KEPT_SHARE: usize = 16;

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
    /// When a request first found it full since one of it was served.
    full_since: Option<Instant>,
    /// Whether that is long ago.
    hung: bool,
    /// Whether it had no place for some request in this window,
    pressed: bool,
    /// and in how many windows in a row, in which it was no slower than the others by itself.
    pressed_for: u32,
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

    /// Whether a lane was found full, and nothing of it served, for long.
    pub(super) fn hangs(&self, lane: usize) -> bool {
        self.lanes[lane].hung
    }

    /// How much of a whole one lane may have: a shard nearly twice its share, so that the others go on when it hangs.
    pub(super) fn part(&self, lane: usize, whole: usize) -> usize {
        let shards = self.lanes.len() - 1;
        if lane == 0 || shards < 2 { whole } else { (2 * whole).div_ceil(shards + 1) }
    }

    /// Whether a lane has places left for a client that holds `own` in all, if there are so many in all. One that hangs has
    /// its own, and takes none from the others.
    pub(super) fn has_room(&self, lane: usize, limit: usize, own: usize) -> bool {
        let Lane { in_flight, hung, .. } = self.lanes[lane];
        in_flight < open_to(self.part(lane, limit), own) && (hung || self.competing < open_to(limit, own))
    }

    /// Notes that a lane had no place for a request; whether it is in vain to wait for one: the lane is full, and nothing of it
    /// was served for as long as anyone may wait.
    pub(super) fn press(&mut self, lane: usize, limit: usize, own: usize, now: Instant) -> bool {
        let (is_shard, most) = (lane > 0, open_to(self.part(lane, limit), own));
        let lane = &mut self.lanes[lane];
        lane.pressed = true;
        if is_shard && lane.in_flight >= most {
            let stands = now.saturating_duration_since(*lane.full_since.get_or_insert(now)) > QUEUE_DEADLINE;
            if stands && !std::mem::replace(&mut lane.hung, true) {
                self.competing -= lane.in_flight;
            }
        }
        lane.hung
    }

    /// Whether a lane needs more places than its part, as of the last window. A shard that is slow can't do more with more
    /// requests, and one that pauses may be found to be so only in its second window: whoever these hold up is no reason to
    /// take more, which would all come at once when they go on.
    pub(super) fn are_pressed(&self) -> bool {
        self.lanes.iter().any(|lane| lane.pressed_for > 1)
    }

    pub(super) fn record(&mut self, group: Group, took: Duration) {
        let lane = &mut self.lanes[group.lane];
        lane.full_since = None;
        lane.latencies[group.kind as usize].record(took);
        if std::mem::take(&mut lane.hung) {
            self.competing += lane.in_flight;
        }
    }

    /// Ends a window, and finds out which lanes are short of places; returns what slows everyone, the least of what slows
    /// anyone.
    pub(super) fn close(&mut self, load: Load) -> Option<Slowdown> {
        let own: Vec<Option<Slowdown>> = self
            .lanes
            .iter_mut()
            .map(|lane| {
                let [read, change] = &mut lane.latencies;
                least(read.close(load), change.close(load))
            })
            .collect();
        let all = own.iter().copied().fold(None, least);
        let delay = all.map(|all| all.delay).unwrap_or_default();
        for (lane, own) in self.lanes.iter_mut().zip(own).skip(1) {
            let is_as_fast = own.is_some_and(|own| own.delay <= delay + tolerance(own.baseline));
            let is_short = std::mem::take(&mut lane.pressed) && is_as_fast;
            lane.pressed_for = if is_short { lane.pressed_for + 1 } else { 0 };
        }
        all
    }
}

/// How many of `whole` places are kept for clients that hold fewer.
pub(super) fn kept_of(whole: usize) -> usize {
    whole / KEPT_SHARE
}

/// How many of `whole` places are for a client that holds `own`.
pub(super) fn open_to(whole: usize, own: usize) -> usize {
    let kept = kept_of(whole);
    if own < kept { whole } else { whole - kept }
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
            (0..10).for_each(|_| lanes.record(Group { lane, kind: Kind::Read, client: Network::Unknown }, *took));
        }
        lanes.close(Load::Heavy).expect("enough samples")
    }

    #[test]
    fn what_delays_one_shard_delays_not_everyone() {
        let mut lanes = Lanes::new();
        assert_eq!(["a", "b", "a"].map(|shard| lanes.of(Some(shard))), [1, 2, 1]);
        window(&mut lanes, &[MS, 5 * MS, 9 * MS]);
        let all = window(&mut lanes, &[3 * MS, 7 * MS, 90 * MS]);
        assert_eq!(all, Slowdown { baseline: MS, delay: 2 * MS });
    }

    #[test]
    fn a_full_lane_of_which_nothing_is_served_hangs_and_takes_no_place_from_the_others() {
        let (mut lanes, start) = (Lanes::new(), Instant::now());
        let [first, second] = ["a", "b"].map(|shard| lanes.of(Some(shard)));
        while lanes.has_room(second, 8, 0) {
            lanes.enter(second);
        }
        let late = start + QUEUE_DEADLINE + MS;
        assert!(
            !lanes.press(second, 8, 0, start) && !lanes.press(second, 8, 0, start + QUEUE_DEADLINE),
            "not for long enough"
        );
        assert!(!lanes.press(first, 8, 0, late) && !lanes.press(second, 12, 0, late), "not full");
        assert!(lanes.press(second, 8, 0, late));
        (0..8).for_each(|_| lanes.enter(0));
        assert_eq!(lanes.competing(), 8, "those of the lane that hangs compete with nobody");
        assert!(!lanes.has_room(first, 8, 0) && lanes.has_room(first, 9, 0));
        lanes.exit(second);
        assert!(lanes.has_room(second, 8, 0), "it has its own places");
        let left = lanes.lanes[second].in_flight;
        lanes.record(Group { lane: second, kind: Kind::Read, client: Network::Unknown }, MS);
        assert_eq!(lanes.competing(), 8 + left, "once one is served it hangs no more");
    }

    #[test]
    fn a_full_lane_does_not_hang_as_long_as_some_are_served() {
        let (mut lanes, start) = (Lanes::new(), Instant::now());
        let only = lanes.of(Some("a"));
        lanes.enter(only);
        for at in (0..10).map(|number| start + number * QUEUE_DEADLINE) {
            assert!(!lanes.press(only, 1, 0, at));
            lanes.record(Group { lane: only, kind: Kind::Read, client: Network::Unknown }, MS);
        }
    }

    #[test]
    fn a_lane_needs_more_places_only_if_it_is_short_of_them_for_long_and_not_slow() {
        let mut lanes = Lanes::new();
        let paused = ["a", "b"].map(|shard| lanes.of(Some(shard)))[1];
        let mut pressed = |took| {
            lanes.press(paused, 8, 0, Instant::now());
            window(&mut lanes, &[MS, MS, took]);
            lanes.are_pressed()
        };
        assert_eq!([MS, 90 * MS, MS, MS].map(&mut pressed), [false, false, false, true]);
        window(&mut lanes, &[MS, MS, MS]);
        assert!(!lanes.are_pressed());
    }

    #[test]
    fn the_last_places_are_for_clients_that_hold_few() {
        let mut lanes = Lanes::new();
        let [first, _, _] = ["a", "b", "c"].map(|shard| lanes.of(Some(shard)));
        (0..60).for_each(|_| lanes.enter(first));
        assert!(!lanes.has_room(first, 128, 60) && lanes.has_room(first, 128, 3), "64 are the shard's, 4 are kept");
        (0..60).for_each(|_| lanes.enter(0));
        assert!(!lanes.has_room(0, 128, 60) && lanes.has_room(0, 128, 7), "8 of all are kept");
        assert_eq!([open_to(1, 1), open_to(15, 15), open_to(16, 15)], [1, 15, 15]);
    }
}
