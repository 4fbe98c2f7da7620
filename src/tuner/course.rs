//! How far one rule has gone, and when it goes on or back: the decision alone, on values and times that it is given.
//!
//! - Above the limit it goes one step on, each time.
//! - Back it goes one step after calm: for a whole waiting time the value stayed so far below the limit that it would be
//!   there even with what the step had gained. So a load that a step just about holds is not stepped back into.
//! - A value that is above the limit again soon after a step back is a relapse, and doubles the waiting time. Pressure that
//!   comes much later is new, and the waiting time starts over.

use std::time::Duration;

use crate::clock::Timestamp;

/// At least so far below the limit is calm, in the metric's unit.
const MARGIN: f64 = 10.0;
/// How many times the first waiting time the longest is.
const LONGEST: u32 = 32;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// It turns its knobs one step on.
    Relieve,
    /// It turns them one step back.
    StepBack,
}

/// The course of one rule.
#[derive(Debug, Clone)]
pub(super) struct Course {
    limit: f64,
    /// What the steps gained that are in force, first one first; the newest is measured one cycle later.
    gains: Vec<f64>,
    /// The furthest it can go.
    steps: usize,
    /// The value that the newest step was made at, until its gain is known.
    relieved_at: Option<f64>,
    calm_since: Option<Timestamp>,
    stepped_back: Option<Timestamp>,
    first_wait: Duration,
    wait: Duration,
}

impl Course {
    /// One that may go `steps` far, and waits at first `wait` before it steps back.
    pub(super) fn new(limit: f64, steps: usize, wait: Duration) -> Self {
        Self {
            limit,
            gains: Vec::new(),
            steps,
            relieved_at: None,
            calm_since: None,
            stepped_back: None,
            first_wait: wait,
            wait,
        }
    }

    /// How many steps are in force.
    pub(super) fn level(&self) -> usize {
        self.gains.len()
    }

    /// The furthest it can go.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Since when it is calm.
    pub(super) fn calm_since(&self) -> Option<Timestamp> {
        self.calm_since
    }

    /// How long calm has to last before a step back.
    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// Below this it is calm.
    pub(super) fn calm_below(&self) -> f64 {
        let gain = self.gains.last().copied().unwrap_or(0.0);
        // A load that ended just when the step was made looks like a great gain: half of the limit is calm in any case.
        self.limit - gain.clamp(MARGIN.min(self.limit / 2.0), self.limit / 2.0)
    }

    /// Takes a value into account, none if it could not be measured; the step to make now.
    pub(super) fn advance(&mut self, value: Option<f64>, now: Timestamp) -> Option<Move> {
        let Some(value) = value else {
            self.calm_since = None;
            return None;
        };
        if let (Some(before), Some(gain)) = (self.relieved_at.take(), self.gains.last_mut()) {
            *gain = (before - value).max(0.0);
        }
        if value > self.limit { self.relieve(value, now) } else { self.step_back(value, now) }
    }

    /// Takes all steps back.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.limit, self.steps, self.first_wait);
    }

    fn relieve(&mut self, value: f64, now: Timestamp) -> Option<Move> {
        self.calm_since = None;
        if let Some(stepped_back) = self.stepped_back.take() {
            let is_relapse = now.since(stepped_back) <= self.wait * 2;
            self.wait = if is_relapse { (self.wait * 2).min(self.first_wait * LONGEST) } else { self.first_wait };
        }
        (self.level() < self.steps).then(|| {
            self.gains.push(0.0);
            self.relieved_at = Some(value);
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
            self.stepped_back = Some(now);
            Move::StepBack
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Duration = Duration::from_secs(180);

    /// Advances minute by minute; the moves, as the minute and the sign of each.
    fn moves(
        course: &mut Course,
        minutes: std::ops::Range<i64>,
        value: impl Fn(i64, usize) -> f64,
    ) -> Vec<(i64, char)> {
        let mut moves = Vec::new();
        for minute in minutes {
            let now = Timestamp::from_millis(minute * 60_000);
            match course.advance(Some(value(minute, course.level())), now) {
                Some(Move::Relieve) => moves.push((minute, '+')),
                Some(Move::StepBack) => moves.push((minute, '-')),
                None => {}
            }
        }
        moves
    }

    #[test]
    fn pressure_moves_it_a_step_a_cycle_up_to_its_last() {
        let mut course = Course::new(80.0, 3, CALM);
        assert_eq!(moves(&mut course, 0..10, |_, _| 95.0), [(0, '+'), (1, '+'), (2, '+')]);
    }

    #[test]
    fn what_is_at_the_limit_moves_nothing() {
        let mut course = Course::new(80.0, 3, CALM);
        assert_eq!(moves(&mut course, 0..10, |_, _| 80.0), []);
    }

    #[test]
    fn after_calm_it_goes_back_a_step_at_a_time() {
        let mut course = Course::new(80.0, 2, CALM);
        let value = |minute, _| if minute < 2 { 95.0 } else { 5.0 };
        assert_eq!(moves(&mut course, 0..12, value), [(0, '+'), (1, '+'), (5, '-'), (8, '-')]);
    }

    #[test]
    fn a_load_that_a_step_holds_is_not_stepped_back_into() {
        let mut course = Course::new(80.0, 3, CALM);
        let value = |_, level| if level == 0 { 100.0 } else { 60.0 };
        assert_eq!(moves(&mut course, 0..600, value), [(0, '+')]);
    }

    #[test]
    fn each_relapse_doubles_the_wait() {
        let mut course = Course::new(80.0, 1, CALM);
        // Far below while the step is in force, and above without it: what no gain foretells.
        let value = |_, level| if level == 0 { 100.0 } else { 1.0 };
        let back: Vec<i64> =
            moves(&mut course, 0..200, value).into_iter().filter(|(_, sign)| *sign == '-').map(|(at, _)| at).collect();
        let waits: Vec<i64> = back.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(back[0], 4);
        assert_eq!(waits[..4], [8, 14, 26, 50]);
    }

    #[test]
    fn the_wait_has_an_end_and_starts_over_with_new_pressure() {
        let mut course = Course::new(80.0, 1, CALM);
        moves(&mut course, 0..5000, |_, level| if level == 0 { 100.0 } else { 1.0 });
        assert_eq!(course.wait(), CALM * LONGEST);
        moves(&mut course, 5000..9000, |minute, _| if minute == 8999 { 100.0 } else { 1.0 });
        assert_eq!((course.wait(), course.level()), (CALM, 1));
    }

    #[test]
    fn what_was_not_measured_is_neither_pressure_nor_calm() {
        let mut course = Course::new(80.0, 2, CALM);
        let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
        assert_eq!(course.advance(Some(90.0), at(0)), Some(Move::Relieve));
        assert_eq!(course.advance(Some(1.0), at(1)), None);
        assert_eq!(course.advance(None, at(2)), None);
        assert_eq!(course.advance(Some(1.0), at(5)), None, "calm begins anew");
        assert_eq!(course.advance(Some(1.0), at(8)), Some(Move::StepBack));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_measured_it_stays_within_its_steps(
            values in proptest::collection::vec(proptest::option::of(0.0..200.0_f64), 0..300),
            steps in 0..5_usize,
        ) {
            let mut course = Course::new(80.0, steps, CALM);
            for (minute, value) in values.into_iter().enumerate() {
                let before = course.level();
                let moved = course.advance(value, Timestamp::from_millis(minute as i64 * 60_000));
                let expected = match moved {
                    Some(Move::Relieve) => before + 1,
                    Some(Move::StepBack) => before - 1,
                    None => before,
                };
                proptest::prop_assert_eq!(course.level(), expected);
                proptest::prop_assert!(course.level() <= steps);
                proptest::prop_assert!((CALM..=CALM * LONGEST).contains(&course.wait()));
            }
        }

        #[test]
        fn pressure_of_any_constant_load_settles(load in 0.0..200.0_f64, gain in 0.0..100.0_f64) {
            let mut course = Course::new(80.0, 4, CALM);
            let value = |_, level: usize| (load - gain * level as f64).max(0.0);
            moves(&mut course, 0..120, value);
            // Ten minutes of a steady load, two hours on: at most one step back and its relapse.
            let late = moves(&mut course, 120..130, value);
            proptest::prop_assert!(late.len() <= 2, "{:?}", late);
        }
    }
}
