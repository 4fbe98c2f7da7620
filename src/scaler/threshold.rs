//! The seed's policy (`HorizontalScaler.evaluate_scaling`): one instance at a time, with a pause after each.
//!
//! Two things go beyond it: a custom rule that fires asks for an instance (in the seed it only ends the evaluation), and
//! where a store is known to be the bottleneck no instance is added.

use std::time::Duration;

use super::{Bounds, Decision, Numbers, Observation, Outcome, Rule, State};
use crate::clock::Timestamp;

/// When there are too few and too many instances.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// How many instances there may be.
    pub bounds: Bounds,
    /// How long nothing is done after an action.
    pub cooldown: Duration,
    /// Above which part of the places taken there is one instance more.
    pub scale_up_above: f64,
    /// Below which part there is one less.
    pub scale_down_below: f64,
    /// Rules that come before this; the first that fires decides.
    pub rules: Vec<Rule>,
}

impl Threshold {
    /// The seed's values, without custom rules.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            cooldown: Duration::from_secs(300),
            scale_up_above: 0.8,
            scale_down_below: 0.3,
            rules: Vec::new(),
        }
    }

    pub(super) fn decide(&self, state: &State, seen: &Observation, now: Timestamp) -> Decision {
        let mut numbers = Numbers { ready: seen.ready, starting: seen.starting, ..Numbers::default() };
        if let Some(last) = state.last_action_at {
            let passed = now.since(last);
            if passed < self.cooldown {
                let left = (self.cooldown - passed).as_secs_f64();
                numbers.cooldown_left_seconds = Some(left);
                let reason = format!(
                    "The last action was {:.0} s ago; the next may come after {} s.",
                    passed.as_secs_f64(),
                    self.cooldown.as_secs()
                );
                return Decision::hold(Outcome::Cooldown, seen, numbers, reason);
            }
        }
        let fired = self.rules.iter().find_map(|rule| Some((rule, rule.fires(seen)?)));
        if let Some((rule, value)) = fired {
            let reason = format!("Rule {}: {} is {value:.2}, above {}.", rule.name, rule.measure.name(), rule.above);
            let mut decision = self.change(seen.count().saturating_add(1), seen, numbers, reason);
            decision.rule = Some(rule.name.clone());
            if decision.outcome != Outcome::StoreBound {
                decision.outcome = Outcome::CustomRuleTriggered;
            }
            return decision;
        }
        if seen.ready == 0 {
            let reason = "No instance takes requests.".to_owned();
            return Decision::hold(Outcome::NoHealthyNodes, seen, numbers, reason);
        }
        let Some(utilization) = seen.utilization() else {
            let reason = "The instances have no places for requests.".to_owned();
            return Decision::hold(Outcome::NoCapacity, seen, numbers, reason);
        };
        numbers.utilization = Some(utilization);
        let percent = utilization * 100.0;
        let (up, down) = (self.scale_up_above * 100.0, self.scale_down_below * 100.0);
        if utilization > self.scale_up_above && seen.ready < self.bounds.max() {
            let reason = format!("{percent:.1} % of the places are taken, above {up:.0} %.");
            self.change(seen.count().saturating_add(1), seen, numbers, reason)
        } else if utilization < self.scale_down_below && seen.ready > self.bounds.min() {
            let reason = format!("{percent:.1} % of the places are taken, below {down:.0} %.");
            self.change(seen.count().saturating_sub(1), seen, numbers, reason)
        } else {
            let reason = if utilization > self.scale_up_above {
                format!("{percent:.1} % of the places are taken, but there are {} instances already.", seen.ready)
            } else if utilization < self.scale_down_below {
                format!(
                    "{percent:.1} % of the places are taken, but at least {} instances are kept.",
                    self.bounds.min()
                )
            } else {
                format!("{percent:.1} % of the places are taken, between {down:.0} % and {up:.0} %.")
            };
            Decision::hold(Outcome::NoAction, seen, numbers, reason)
        }
    }

    /// Within the bounds, a step at a time: who is further out comes back in at once.
    fn change(&self, to: u32, seen: &Observation, numbers: Numbers, reason: String) -> Decision {
        Decision::change(to, self.bounds, seen, numbers, reason).unless_store_bound(seen)
    }
}

#[cfg(test)]
mod tests;
