//! Properties of all policies.

use proptest::prelude::*;

use super::*;

fn policies(bounds: Bounds) -> [Policy; 2] {
    let mut threshold = Threshold::new(bounds);
    threshold.rules = vec![Rule::cpu(), Rule::memory(), Rule::response_time()];
    [Policy::Demand(Demand::new(bounds)), Policy::Threshold(threshold)]
}

fn observation() -> impl Strategy<Value = Observation> {
    let demand = prop_oneof![
        8 => (0.0..40.0).prop_map(Some),
        1 => Just(None),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), Just(f64::MAX)].prop_map(Some),
    ];
    let rare = |percent: std::ops::Range<f64>| proptest::option::weighted(0.3, percent);
    let seconds = rare(0.0..4.0).prop_map(|seconds| seconds.map(std::time::Duration::from_secs_f64));
    let store = proptest::option::weighted(0.2, Just("db-node-1".to_owned()));
    let connections = proptest::collection::vec((0..1200_u64, 0..1000_u64), 0..4);
    (0..20_u32, 0..5_u32, connections, demand, store, rare(0.0..100.0), rare(0.0..100.0), seconds).prop_map(
        |(ready, starting, connections, demand, bottleneck, cpu_percent, memory_percent, response_time)| Observation {
            ready,
            starting,
            draining: 0,
            connections: connections.into_iter().map(|(current, max)| Connections { current, max }).collect(),
            demand,
            bottleneck,
            cpu_percent,
            memory_percent,
            response_time,
        },
    )
}

/// Observations, with the milliseconds before each.
fn course() -> impl Strategy<Value = Vec<(u64, Observation)>> {
    proptest::collection::vec((prop_oneof![9 => 1_000..20_000_u64, 1 => 0..2_000_000_u64], observation()), 1..60)
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (1..6_u32, 0..12_u32).prop_map(|(min, more)| Bounds::new(min, min + more).unwrap())
}

/// Calls `check` with every decision of each policy on a sequence of observations.
fn decide_all(bounds: Bounds, course: &[(u64, Observation)], mut check: impl FnMut(&Policy, &Observation, &Decision)) {
    for policy in policies(bounds) {
        let mut state = State::default();
        let mut now = 0;
        for (passed, seen) in course {
            now += passed;
            let decision = policy.decide(&mut state, seen, Timestamp::from_millis(now as i64));
            check(&policy, seen, &decision);
        }
    }
}

proptest! {
    #[test]
    fn a_change_ends_within_the_bounds(bounds in bounds(), course in course()) {
        decide_all(bounds, &course, |policy, _, decision| {
            assert!(!decision.changes() || bounds.clamp(decision.to) == decision.to, "{policy:?} {decision:?}");
        });
    }

    #[test]
    fn the_outcome_agrees_with_the_change(bounds in bounds(), course in course()) {
        decide_all(bounds, &course, |_, seen, decision| {
            assert_eq!(decision.from, seen.count());
            match decision.outcome {
                Outcome::ScaledUp => assert!(decision.to > decision.from),
                Outcome::ScaledDown => assert!(decision.to < decision.from),
                Outcome::CustomRuleTriggered => assert!(decision.rule.is_some()),
                _ => assert_eq!(decision.to, decision.from),
            }
            assert!(!decision.reasons.is_empty());
        });
    }

    #[test]
    fn no_instances_are_added_while_a_store_is_the_bottleneck(bounds in bounds(), course in course()) {
        decide_all(bounds, &course, |_, seen, decision| {
            assert!(seen.bottleneck.is_none() || decision.to <= decision.from, "{decision:?}");
        });
    }

    #[test]
    fn an_unknown_demand_keeps_the_number_of_instances(bounds in bounds(), course in course()) {
        decide_all(bounds, &course, |policy, seen, decision| {
            let unknown = seen.demand.is_none_or(|demand| !demand.is_finite() || demand < 0.0);
            if policy.name() == PolicyName::Demand && unknown && bounds.clamp(seen.count()) == seen.count() {
                assert!(!decision.changes(), "{decision:?}");
            }
        });
    }

    #[test]
    fn a_restored_state_decides_the_same(bounds in bounds(), before in course(), after in course()) {
        for policy in policies(bounds) {
            let mut state = State::default();
            let mut now = 0;
            for (passed, seen) in &before {
                now += passed;
                policy.decide(&mut state, seen, Timestamp::from_millis(now as i64));
            }
            let json = serde_json::to_string(&state).unwrap();
            let mut restored: State = serde_json::from_str(&json).unwrap();
            for (passed, seen) in &after {
                now += passed;
                let at = Timestamp::from_millis(now as i64);
                prop_assert_eq!(policy.decide(&mut state, seen, at), policy.decide(&mut restored, seen, at));
            }
        }
    }
}

#[test]
fn a_state_without_fields_is_the_initial_state() {
    assert_eq!(serde_json::from_str::<State>("{}").unwrap(), State::default());
}

#[test]
fn names_parse_and_serialize() {
    for &name in PolicyName::ALL {
        assert_eq!(name.name().parse::<PolicyName>().unwrap(), name);
        assert_eq!(serde_json::to_value(name).unwrap(), name.name());
        assert_eq!(Policy::new(name, Bounds::default()).name(), name);
    }
}

#[test]
fn outcome_names_equal_their_serialization() {
    let all = [
        Outcome::Cooldown,
        Outcome::NoHealthyNodes,
        Outcome::NoCapacity,
        Outcome::ScaledUp,
        Outcome::ScaledDown,
        Outcome::NoAction,
        Outcome::StoreBound,
        Outcome::Unsure,
        Outcome::CustomRuleTriggered,
    ];
    for outcome in all {
        assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
    }
}

#[test]
fn empty_bounds_are_rejected() {
    assert_eq!(Bounds::new(0, 3), Err(InvalidBounds));
    assert_eq!(Bounds::new(4, 3), Err(InvalidBounds));
    assert_eq!((Bounds::default().min(), Bounds::default().max()), (2, 10));
}

#[test]
fn rules_parse_as_they_are_displayed() {
    for text in ["cpu", "memory", "response_time", "crowded=utilization>0.7"] {
        let rule: Rule = text.parse().unwrap();
        assert_eq!(rule.to_string().parse(), Ok(rule), "{text}");
    }
    for wrong in ["", "cpu>80", "a=b>1", "=cpu_percent>1", "x=cpu_percent>nan", "x=cpu_percent"] {
        assert!(wrong.parse::<Rule>().is_err(), "{wrong}");
    }
}
