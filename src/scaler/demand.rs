//! The default policy: as many instances as the demand needs by the time that one started now is ready.
//!
//! Demand is what offered requests cost, so it depends neither on how many instances there are nor on how slow a store is.
//! Growing is at once and by as many as are missing; shrinking waits until for a while nobody would have wanted more.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Bounds, Decision, Numbers, Observation, Outcome, State};
use crate::clock::Timestamp;

/// The policy's parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// How many instances there may be.
    pub bounds: Bounds,
    /// How long it takes until an instance that is started now takes requests, and until a measurement is seen, together.
    pub look_ahead: Duration,
    /// For how long fewer instances must have been enough before there are fewer.
    pub scale_in_after: Duration,
}

/// What the policy remembers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Numbers of instances that were wanted, in the order of time and falling: what came before a greater one is dropped.
    wanted: VecDeque<(Timestamp, u32)>,
}

impl Demand {
    /// The default parameters.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, look_ahead: Duration::from_secs(60), scale_in_after: Duration::from_secs(300) }
    }

    pub(super) fn decide(&self, state: &mut State, seen: &Observation, now: Timestamp) -> Decision {
        let mut numbers = Numbers { ready: seen.ready, starting: seen.starting, ..Numbers::default() };
        let Some(demand) = seen.demand.filter(|demand| demand.is_finite() && *demand >= 0.0) else {
            let reason = "The demand is not known.".to_owned();
            let mut decision =
                Decision::change(seen.count(), self.bounds, seen, numbers, reason).unless_store_bound(seen);
            if !decision.changes() {
                decision.outcome = Outcome::Unsure;
            }
            return decision;
        };
        numbers.demand = Some(demand);
        let wanted = demand.ceil() as u32;
        let recently = state.demand.recently_wanted(wanted, self.scale_in_after, now);
        numbers.recently_wanted = Some(recently);
        let to = if wanted > seen.count() { wanted } else { seen.count().min(recently) };
        let reason = format!("Offered requests keep {demand:.2} instances at their target.");
        Decision::change(to, self.bounds, seen, numbers, reason).unless_store_bound(seen)
    }
}

impl Memory {
    fn recently_wanted(&mut self, wanted: u32, within: Duration, now: Timestamp) -> u32 {
        while self.wanted.back().is_some_and(|(_, earlier)| *earlier <= wanted) {
            self.wanted.pop_back();
        }
        self.wanted.push_back((now, wanted));
        while self.wanted.front().is_some_and(|(at, _)| now.since(*at) > within) {
            self.wanted.pop_front();
        }
        self.wanted.front().map_or(wanted, |(_, wanted)| *wanted)
    }
}
