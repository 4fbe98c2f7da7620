//! The default policy: as many instances as will be needed by the time that one started now is ready.
//!
//! Demand is what offered requests cost, so it depends neither on how many instances there are nor on how slow a store is.
//! From it the policy learns how demand goes on (`forecast`), and how wrong that is. Growing is at once and by as many as
//! are missing. Shrinking waits until fewer were enough for as long as it takes to get an instance back (to keep one for as
//! long as another would take to start costs at most twice what the best choice would), at least half a minute, and comes
//! at most once in half a minute, so that noise around a whole number changes nothing.

mod forecast;

use std::{collections::VecDeque, time::Duration};

pub use forecast::Forecaster;
use serde::{Deserialize, Serialize};

use super::{Bounds, Decision, Numbers, Observation, Outcome, State};
use crate::clock::Timestamp;

/// Up to how many times the greatest number of instances demand is learnt from.
const LEARNT_BEYOND_BOUND: f64 = 4.0;

/// The policy's parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// How many instances there may be.
    pub bounds: Bounds,
    /// How far ahead a decision has to see: how long an instance takes from its start until it takes requests, how old
    /// measurements are, and how long until the next decision, together.
    pub look_ahead: Duration,
    /// In which part of the time the demand may turn out higher than what was kept for it, from 0 to 1.
    pub risk: f64,
    /// For how long fewer instances must have been enough, at least, before there are fewer; never less than `look_ahead`.
    pub scale_in_after: Duration,
    /// How long after the number was lowered it is not lowered again.
    pub scale_in_pause: Duration,
}

/// What the policy remembers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    forecaster: Forecaster,
    /// Numbers of instances that were wanted, in the order of time and falling: what came before a greater one is dropped.
    wanted: VecDeque<(Timestamp, u32)>,
    scaled_in_at: Option<Timestamp>,
}

impl Demand {
    /// The default parameters: an instance starts within a minute, and the demand may be too high in 1 % of the time.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            look_ahead: Duration::from_secs(60),
            risk: 0.01,
            scale_in_after: Duration::from_secs(30),
            scale_in_pause: Duration::from_secs(30),
        }
    }

    pub(super) fn decide(&self, state: &mut State, seen: &Observation, now: Timestamp) -> Decision {
        let memory = &mut state.demand;
        let count = seen.count();
        let mut numbers = Numbers { ready: seen.ready, starting: seen.starting, ..Numbers::default() };
        let Some(demand) = seen.demand.filter(|demand| demand.is_finite() && *demand >= 0.0) else {
            let reason = "The demand is not known.".to_owned();
            let mut decision = Decision::change(count, self.bounds, seen, numbers, reason).unless_store_bound(seen);
            if decision.outcome == Outcome::NoAction {
                decision.outcome = Outcome::Unsure;
            }
            return decision;
        };
        // Far beyond the bound it does not matter by how much, but what is learnt from it would.
        let learnt = demand.min(f64::from(self.bounds.max()) * LEARNT_BEYOND_BOUND);
        let forecast = memory.forecaster.observe(learnt, self.look_ahead, self.risk, now);
        // What is there now is needed now, whatever is expected.
        let load = (forecast.expected + forecast.headroom).max(demand);
        let wanted = load.ceil() as u32;
        let keep = self.scale_in_after.max(self.look_ahead);
        let recently_wanted = memory.recently_wanted(wanted, keep, now);
        numbers.demand = Some(demand);
        numbers.forecast = Some(forecast.expected);
        numbers.headroom = Some(forecast.headroom);
        numbers.wanted = Some(load);
        numbers.recently_wanted = Some(recently_wanted);
        let reason = format!(
            "Offered requests would keep {demand:.2} instances at their target. {:.2} are expected in {:.0} s, and {:.2} more \
             are kept for what can't be foreseen.",
            forecast.expected,
            self.look_ahead.as_secs_f64(),
            forecast.headroom
        );
        let mut patience = None;
        let mut to = wanted;
        if wanted < count && recently_wanted > wanted {
            to = count.min(recently_wanted);
            patience = Some(format!("Up to {recently_wanted} were wanted within the last {} s.", keep.as_secs()));
        }
        if to < count && memory.scaled_in_at.is_some_and(|at| now.since(at) < self.scale_in_pause) {
            to = count;
            patience = Some(format!("The number was lowered less than {} s ago.", self.scale_in_pause.as_secs()));
        }
        let mut decision = Decision::change(to, self.bounds, seen, numbers, reason).unless_store_bound(seen);
        decision.reasons.extend(patience);
        if decision.to < count {
            memory.scaled_in_at = Some(now);
        }
        decision
    }
}

impl Memory {
    /// The most that were wanted within some time, `wanted` now included.
    fn recently_wanted(&mut self, wanted: u32, within: Duration, now: Timestamp) -> u32 {
        // What is in the future was remembered by a clock that was wrong.
        while self.wanted.back().is_some_and(|(at, earlier)| *earlier <= wanted || *at > now) {
            self.wanted.pop_back();
        }
        self.wanted.push_back((now, wanted));
        while self.wanted.front().is_some_and(|(at, _)| now.since(*at) > within) {
            self.wanted.pop_front();
        }
        self.wanted.front().map_or(wanted, |(_, wanted)| *wanted)
    }
}

#[cfg(test)]
mod tests;
