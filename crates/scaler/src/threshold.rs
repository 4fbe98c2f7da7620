//! The threshold policy of the reference design (`HorizontalScaler.evaluate_scaling`): one instance at a time, with a cooldown.
//!
//! Two deviations: a custom rule that fires adds an instance (in the reference design it only ends the evaluation), and no
//! instance is added if a store is known to be the bottleneck.

use std::time::Duration;

use super::{Bounds, Decision, Numbers, Observation, Outcome, Rule, State};
use crate::Timestamp;

/// Parameters of the threshold policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// Bounds of the number of instances.
    pub bounds: Bounds,
    /// Cooldown after a scaling change.
    pub cooldown: Duration,
    /// Utilization, 0 to 1, above which an instance is added.
    pub scale_up_above: f64,
    /// Utilization, 0 to 1, below which an instance is removed.
    pub scale_down_below: f64,
    /// Custom rules, evaluated first; the first one that fires decides.
    pub rules: Vec<Rule>,
}

impl Threshold {
    /// Returns the values of the reference design (80 %, 30 %, 300 s), without custom rules.
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
                    "The last change was {:.0} s ago; the cooldown is {} s.",
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
            let reason = "No instance is ready.".to_owned();
            return Decision::hold(Outcome::NoHealthyNodes, seen, numbers, reason);
        }
        let Some(utilization) = seen.utilization() else {
            let reason = "The instances have no capacity for requests.".to_owned();
            return Decision::hold(Outcome::NoCapacity, seen, numbers, reason);
        };
        numbers.utilization = Some(utilization);
        let percent = utilization * 100.0;
        let (up, down) = (self.scale_up_above * 100.0, self.scale_down_below * 100.0);
        if utilization > self.scale_up_above && seen.ready < self.bounds.max() {
            let reason = format!("{percent:.1} % of the connections are in use, above {up:.0} %.");
            self.change(seen.count().saturating_add(1), seen, numbers, reason)
        } else if utilization < self.scale_down_below && seen.ready > self.bounds.min() {
            let reason = format!("{percent:.1} % of the connections are in use, below {down:.0} %.");
            self.change(seen.count().saturating_sub(1), seen, numbers, reason)
        } else {
            let reason = if utilization > self.scale_up_above {
                format!("{percent:.1} % of the connections are in use, but there are already {} instances.", seen.ready)
            } else if utilization < self.scale_down_below {
                format!(
                    "{percent:.1} % of the connections are in use, but the lower bound is {} instances.",
                    self.bounds.min()
                )
            } else {
                format!("{percent:.1} % of the connections are in use, between {down:.0} % and {up:.0} %.")
            };
            Decision::hold(Outcome::NoAction, seen, numbers, reason)
        }
    }

    /// Changes the number of instances by one, or directly to the nearer bound if it is out of bounds.
    fn change(&self, to: u32, seen: &Observation, numbers: Numbers, reason: String) -> Decision {
        Decision::change(to, self.bounds, seen, numbers, reason).unless_store_bound(seen)
    }
}

#[cfg(test)]
mod tests;
