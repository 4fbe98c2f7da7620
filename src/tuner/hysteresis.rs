//! The hysteresis of one rule: decides when its knobs move a step further or a step back. No I/O and no clock.
//!
//! - Each value above the limit adds one step.
//! - A step is taken back after calm: for a whole waiting time the value stayed so far below the limit that it would still be
//!   below it without what the newest step gained. This keeps the rule from oscillating under a load that the step just holds.
//! - A value above the limit soon after a step back is a relapse and doubles the waiting time. Later pressure is new, and
//!   restores the first waiting time.

use std::time::Duration;

use crate::clock::Timestamp;

/// Minimum distance below the limit that counts as calm, in the metric's unit.
const MIN_MARGIN: f64 = 10.0;
/// The longest waiting time, as a multiple of the first one.
const MAX_WAIT_FACTOR: u32 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// One step further.
    Relieve,
    /// One step back.
    StepBack,
}

#[derive(Debug, Clone)]
pub(super) struct Hysteresis {
    limit: f64,
    /// By how much each step in force lowered the value, oldest first. The newest is measured one cycle later.
    gains: Vec<f64>,
    max_level: usize,
    /// The value before the newest step, until the gain of that step is known.
    value_before_step: Option<f64>,
    calm_since: Option<Timestamp>,
    stepped_back_at: Option<Timestamp>,
    first_wait: Duration,
    wait: Duration,
}

impl Hysteresis {
    /// Creates one with at most `max_level` steps. `wait` is how long calm has to last before the first step back.
    pub(super) fn new(limit: f64, max_level: usize, wait: Duration) -> Self {
        Self {
            limit,
            gains: Vec::new(),
            max_level,
            value_before_step: None,
            calm_since: None,
            stepped_back_at: None,
            first_wait: wait,
            wait,
        }
    }

    /// Returns how many steps are in force.
    pub(super) fn level(&self) -> usize {
        self.gains.len()
    }

    pub(super) fn max_level(&self) -> usize {
        self.max_level
    }

    pub(super) fn calm_since(&self) -> Option<Timestamp> {
        self.calm_since
    }

    /// Returns how long calm has to last before a step back.
    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// Returns the value below which the rule is calm.
    pub(super) fn calm_below(&self) -> f64 {
        let gain = self.gains.last().copied().unwrap_or(0.0);
        // A load that ends right after a step looks like a large gain of that step. So half of the limit always counts as calm.
        self.limit - gain.clamp(MIN_MARGIN.min(self.limit / 2.0), self.limit / 2.0)
    }

    /// Takes the next measured value into account and returns the step to make, if any. A missing value interrupts calm.
    pub(super) fn advance(&mut self, value: Option<f64>, now: Timestamp) -> Option<Move> {
        let Some(value) = value else {
            self.calm_since = None;
            return None;
        };
        if let (Some(before), Some(gain)) = (self.value_before_step.take(), self.gains.last_mut()) {
            *gain = (before - value).max(0.0);
        }
        if value > self.limit { self.relieve(value, now) } else { self.step_back(value, now) }
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new(self.limit, self.max_level, self.first_wait);
    }

    fn relieve(&mut self, value: f64, now: Timestamp) -> Option<Move> {
        self.calm_since = None;
        if let Some(stepped_back_at) = self.stepped_back_at.take() {
            let is_relapse = now.since(stepped_back_at) <= self.wait * 2;
            self.wait =
                if is_relapse { (self.wait * 2).min(self.first_wait * MAX_WAIT_FACTOR) } else { self.first_wait };
        }
        (self.level() < self.max_level).then(|| {
            self.gains.push(0.0);
            self.value_before_step = Some(value);
            Move::Relieve
        })
    }

    fn step_back(&mut self, value: f64, now: Timestamp) -> Option<Move> {
        if value >= self.calm_below() {
            self.calm_since = None;
            return None;
        }
        let calm = now.since(*self.calm_since.get_or_insert(now));
        (self.level() > 0 && calm >= self.wait).then(|| {
            self.gains.pop();
            self.calm_since = Some(now);
            self.stepped_back_at = Some(now);
            Move::StepBack
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Duration = Duration::from_secs(180);

    /// Advances minute by minute, and returns the minute and sign of each move.
    fn moves(
        hysteresis: &mut Hysteresis,
        minutes: std::ops::Range<i64>,
        value: impl Fn(i64, usize) -> f64,
    ) -> Vec<(i64, char)> {
        let mut moves = Vec::new();
        for minute in minutes {
            let now = Timestamp::from_millis(minute * 60_000);
            match hysteresis.advance(Some(value(minute, hysteresis.level())), now) {
                Some(Move::Relieve) => moves.push((minute, '+')),
                Some(Move::StepBack) => moves.push((minute, '-')),
                None => {}
            }
        }
        moves
    }

    #[test]
    fn pressure_adds_one_step_per_cycle_up_to_the_maximum() {
        let mut hysteresis = Hysteresis::new(80.0, 3, CALM);
        assert_eq!(moves(&mut hysteresis, 0..10, |_, _| 95.0), [(0, '+'), (1, '+'), (2, '+')]);
    }

    #[test]
    fn a_value_at_the_limit_moves_nothing() {
        let mut hysteresis = Hysteresis::new(80.0, 3, CALM);
        assert_eq!(moves(&mut hysteresis, 0..10, |_, _| 80.0), []);
    }

    #[test]
    fn calm_takes_back_one_step_at_a_time() {
        let mut hysteresis = Hysteresis::new(80.0, 2, CALM);
        let value = |minute, _| if minute < 2 { 95.0 } else { 5.0 };
        assert_eq!(moves(&mut hysteresis, 0..12, value), [(0, '+'), (1, '+'), (5, '-'), (8, '-')]);
    }

    #[test]
    fn a_step_that_holds_the_load_is_not_taken_back() {
        let mut hysteresis = Hysteresis::new(80.0, 3, CALM);
        let value = |_, level| if level == 0 { 100.0 } else { 60.0 };
        assert_eq!(moves(&mut hysteresis, 0..600, value), [(0, '+')]);
    }

    #[test]
    fn each_relapse_doubles_the_wait() {
        let mut hysteresis = Hysteresis::new(80.0, 1, CALM);
        // Far below the limit with the step and above it without: the measured gain does not predict the relapse.
        let value = |_, level| if level == 0 { 100.0 } else { 1.0 };
        let back: Vec<i64> = moves(&mut hysteresis, 0..200, value)
            .into_iter()
            .filter(|(_, sign)| *sign == '-')
            .map(|(at, _)| at)
            .collect();
        let waits: Vec<i64> = back.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(back[0], 4);
        assert_eq!(waits[..4], [8, 14, 26, 50]);
    }

    #[test]
    fn the_wait_is_bounded_and_restored_by_new_pressure() {
        let mut hysteresis = Hysteresis::new(80.0, 1, CALM);
        moves(&mut hysteresis, 0..5000, |_, level| if level == 0 { 100.0 } else { 1.0 });
        assert_eq!(hysteresis.wait(), CALM * MAX_WAIT_FACTOR);
        moves(&mut hysteresis, 5000..9000, |minute, _| if minute == 8999 { 100.0 } else { 1.0 });
        assert_eq!((hysteresis.wait(), hysteresis.level()), (CALM, 1));
    }

    #[test]
    fn a_missing_value_is_neither_pressure_nor_calm() {
        let mut hysteresis = Hysteresis::new(80.0, 2, CALM);
        let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
        assert_eq!(hysteresis.advance(Some(90.0), at(0)), Some(Move::Relieve));
        assert_eq!(hysteresis.advance(Some(1.0), at(1)), None);
        assert_eq!(hysteresis.advance(None, at(2)), None);
        assert_eq!(hysteresis.advance(Some(1.0), at(5)), None, "calm starts over");
        assert_eq!(hysteresis.advance(Some(1.0), at(8)), Some(Move::StepBack));
    }

    proptest::proptest! {
        #[test]
        fn the_level_stays_within_its_bounds(
            values in proptest::collection::vec(proptest::option::of(0.0..200.0_f64), 0..300),
            max_level in 0..5_usize,
        ) {
            let mut hysteresis = Hysteresis::new(80.0, max_level, CALM);
            for (minute, value) in values.into_iter().enumerate() {
                let before = hysteresis.level();
                let moved = hysteresis.advance(value, Timestamp::from_millis(minute as i64 * 60_000));
                let expected = match moved {
                    Some(Move::Relieve) => before + 1,
                    Some(Move::StepBack) => before - 1,
                    None => before,
                };
                proptest::prop_assert_eq!(hysteresis.level(), expected);
                proptest::prop_assert!(hysteresis.level() <= max_level);
                proptest::prop_assert!((CALM..=CALM * MAX_WAIT_FACTOR).contains(&hysteresis.wait()));
            }
        }

        #[test]
        fn a_constant_load_settles(load in 0.0..200.0_f64, gain in 0.0..100.0_f64) {
            let mut hysteresis = Hysteresis::new(80.0, 4, CALM);
            let value = |_, level: usize| (load - gain * level as f64).max(0.0);
            moves(&mut hysteresis, 0..120, value);
            // After two hours of steady load, ten minutes contain at most one step back and its relapse.
            let late = moves(&mut hysteresis, 120..130, value);
            proptest::prop_assert!(late.len() <= 2, "{:?}", late);
        }
    }
}
