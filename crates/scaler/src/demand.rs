//! The demand policy: as many instances as will be needed when an instance that is started now is ready.
//!
//! Demand is the cost of the offered requests, so it depends neither on the number of instances nor on the speed of a store. The
//! policy forecasts it, and learns the error of its forecasts (`forecast`). It scales out at once, by as many instances as are
//! missing. It scales in once fewer instances were enough for as long as it takes to start one; to keep an instance for that
//! long costs at most twice as much as the best choice. That is at least half a minute, and at most once in half a minute, so
//! that noise around a whole number changes nothing.

mod forecast;

use std::{collections::VecDeque, time::Duration};

pub use forecast::Forecaster;
use serde::{Deserialize, Serialize};

use super::{Bounds, Decision, Numbers, Observation, Outcome, State};
use crate::Timestamp;

/// Demand is clamped to this multiple of the upper bound before the policy learns from it.
const MAX_LEARNED_DEMAND: f64 = 4.0;

/// Parameters of the demand policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Bounds of the number of instances.
    pub bounds: Bounds,
    /// Forecast horizon: the start-up time of an instance, plus the age of measurements, plus the interval between decisions.
    pub look_ahead: Duration,
    /// The share of time, 0 to 1, in which the demand may exceed forecast and headroom.
    pub risk: f64,
    /// Minimum time that fewer instances must have been enough before scaling in; not less than `look_ahead`.
    pub scale_in_after: Duration,
    /// Minimum time between two decisions to scale in.
    pub scale_in_pause: Duration,
}

/// State of the demand policy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    forecaster: Forecaster,
    /// Wanted numbers of instances in the order of time, strictly falling: a number drops the smaller ones before it.
    wanted: VecDeque<(Timestamp, u32)>,
    scaled_in_at: Option<Timestamp>,
}

impl Demand {
    /// Returns the default parameters: an instance starts within a minute, and the risk is 1 %.
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
            let reason = "The demand is unknown.".to_owned();
            let mut decision = Decision::change(count, self.bounds, seen, numbers, reason).unless_store_bound(seen);
            if decision.outcome == Outcome::NoAction {
                decision.outcome = Outcome::Unsure;
            }
            return decision;
        };
        // An absurd measurement must not dominate the forecast for days.
        let learned = demand.min(f64::from(self.bounds.max()) * MAX_LEARNED_DEMAND);
        let forecast = memory.forecaster.observe(learned, self.look_ahead, self.risk, now);
        // The current demand is needed now, even if the forecast is lower.
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
            "The demand is {demand:.2} instances at their target utilization; {:.2} are expected in {:.0} s, plus a headroom of \
             {:.2} for forecast errors.",
            forecast.expected,
            self.look_ahead.as_secs_f64(),
            forecast.headroom
        );
        let mut scale_in_delay = None;
        let mut to = wanted;
        if wanted < count && recently_wanted > wanted {
            to = count.min(recently_wanted);
            scale_in_delay =
                Some(format!("Up to {recently_wanted} instances were needed in the last {} s.", keep.as_secs()));
        }
        if to < count && memory.scaled_in_at.is_some_and(|at| now.since(at) < self.scale_in_pause) {
            to = count;
            scale_in_delay = Some(format!("The last scale-in was less than {} s ago.", self.scale_in_pause.as_secs()));
        }
        let mut decision = Decision::change(to, self.bounds, seen, numbers, reason).unless_store_bound(seen);
        decision.reasons.extend(scale_in_delay);
        if decision.to < count {
            memory.scaled_in_at = Some(now);
        }
        decision
    }
}

impl Memory {
    /// Returns the maximum number of wanted instances within some time, including `wanted` now.
    fn recently_wanted(&mut self, wanted: u32, within: Duration, now: Timestamp) -> u32 {
        // An entry in the future was written by a clock that was wrong.
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
