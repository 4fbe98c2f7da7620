use super::*;
use crate::{Connections, Policy};

/// Returns `ready` instances of 100 connections at a utilization.
fn seen(ready: u32, utilization: f64) -> Observation {
    let current = (utilization * 100.0).round() as u64;
    Observation {
        ready,
        connections: vec![Connections { current, max: 100 }; ready as usize],
        ..Observation::default()
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn decide(state: &mut State, seen: &Observation, seconds: i64) -> Decision {
    Policy::Threshold(Threshold::new(Bounds::default())).decide(state, seen, at(seconds))
}

fn once(seen: &Observation) -> (Outcome, u32) {
    let decision = decide(&mut State::default(), seen, 1000);
    (decision.outcome, decision.to)
}

#[test]
fn one_instance_is_added_above_80_percent_and_removed_below_30() {
    assert_eq!(once(&seen(4, 0.81)), (Outcome::ScaledUp, 5));
    assert_eq!(once(&seen(4, 0.80)), (Outcome::NoAction, 4));
    assert_eq!(once(&seen(4, 0.30)), (Outcome::NoAction, 4));
    assert_eq!(once(&seen(4, 0.29)), (Outcome::ScaledDown, 3));
}

#[test]
fn the_default_bounds_are_two_and_ten() {
    assert_eq!(once(&seen(10, 1.0)), (Outcome::NoAction, 10));
    assert_eq!(once(&seen(2, 0.0)), (Outcome::NoAction, 2));
    // One instance is starting.
    let starting = Observation { starting: 1, ..seen(9, 0.9) };
    assert_eq!(once(&starting), (Outcome::NoAction, 10));
}

#[test]
fn without_instances_or_capacity_nothing_changes() {
    assert_eq!(once(&seen(0, 0.0)), (Outcome::NoHealthyNodes, 0));
    let placeless = Observation { ready: 3, connections: vec![Connections::default(); 3], ..Observation::default() };
    assert_eq!(once(&placeless), (Outcome::NoCapacity, 3));
}

#[test]
fn a_change_starts_a_cooldown_of_five_minutes() {
    let mut state = State::default();
    assert_eq!(decide(&mut state, &seen(4, 0.9), 0).outcome, Outcome::ScaledUp);
    let pause = decide(&mut state, &seen(5, 0.9), 299);
    assert_eq!((pause.outcome, pause.numbers.cooldown_left_seconds), (Outcome::Cooldown, Some(1.0)));
    assert_eq!(decide(&mut state, &seen(5, 0.9), 300).outcome, Outcome::ScaledUp);
}

#[test]
fn an_evaluation_without_a_change_starts_no_cooldown() {
    let mut state = State::default();
    decide(&mut state, &seen(4, 0.5), 0);
    assert_eq!(decide(&mut state, &seen(4, 0.9), 5).outcome, Outcome::ScaledUp);
}

#[test]
fn the_cooldown_survives_serialization() {
    let mut state = State::default();
    decide(&mut state, &seen(4, 0.9), 0);
    let mut restored = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
    assert_eq!(decide(&mut restored, &seen(5, 0.9), 100).outcome, Outcome::Cooldown);
}

#[test]
fn a_custom_rule_adds_an_instance_and_is_named() {
    let rules = vec![Rule::memory(), Rule::cpu(), Rule::response_time()];
    let policy = Policy::Threshold(Threshold { rules, ..Threshold::new(Bounds::default()) });
    let hot = Observation { cpu_percent: Some(80.1), memory_percent: Some(85.0), ..seen(4, 0.1) };
    let decision = policy.decide(&mut State::default(), &hot, at(0));
    assert_eq!((decision.outcome, decision.to), (Outcome::CustomRuleTriggered, 5));
    assert_eq!(decision.rule.as_deref(), Some("cpu"));
    let slow = Observation { response_time: Some(Duration::from_millis(2001)), ..seen(10, 0.5) };
    let decision = policy.decide(&mut State::default(), &slow, at(0));
    assert_eq!((decision.outcome, decision.to), (Outcome::CustomRuleTriggered, 10));
}

#[test]
fn custom_rules_respect_the_cooldown() {
    let policy = Policy::Threshold(Threshold { rules: vec![Rule::cpu()], ..Threshold::new(Bounds::default()) });
    let hot = Observation { cpu_percent: Some(99.0), ..seen(4, 0.5) };
    let mut state = State { last_action_at: Some(at(0)), ..State::default() };
    assert_eq!(policy.decide(&mut state, &hot, at(10)).outcome, Outcome::Cooldown);
}

#[test]
fn a_bottleneck_is_named_and_prevents_growth() {
    let bound = Observation { bottleneck: Some("db-node-1".to_owned()), ..seen(4, 0.9) };
    let decision = decide(&mut State::default(), &bound, 0);
    assert_eq!((decision.outcome, decision.to), (Outcome::StoreBound, 4));
    assert!(decision.reasons.iter().any(|reason| reason.contains("db-node-1")), "{decision:?}");
}

#[test]
fn a_higher_utilization_never_needs_fewer_instances() {
    let counts: Vec<u32> = (0..=100).map(|percent| once(&seen(5, f64::from(percent) / 100.0)).1).collect();
    assert!(counts.is_sorted(), "{counts:?}");
}
