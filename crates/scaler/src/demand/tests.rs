use super::*;
use crate::Policy;

/// Applies every decision at once; returns the numbers of instances.
fn follow(policy: &Demand, state: &mut State, demands: impl IntoIterator<Item = f64>, from: &mut i64) -> Vec<u32> {
    let mut count = policy.bounds.min();
    let policy = Policy::Demand(*policy);
    let decide = |demand| {
        *from += 5;
        let seen = Observation { ready: count, demand: Some(demand), ..Observation::default() };
        count = policy.decide(state, &seen, Timestamp::from_millis(*from * 1000)).to;
        count
    };
    demands.into_iter().map(decide).collect()
}

fn policy() -> Demand {
    Demand::new(Bounds::new(1, 100).unwrap())
}

/// Returns reproducible noise between -1 and 1.
fn noise(count: usize) -> Vec<f64> {
    let mut rng = fastrand::Rng::with_seed(7);
    (0..count).map(|_| rng.f64() * 2.0 - 1.0).collect()
}

#[test]
fn missing_instances_are_added_at_once() {
    let counts = follow(&policy(), &mut State::default(), [3.0, 3.0, 20.0], &mut 0);
    assert!(counts[2] >= 20, "{counts:?}");
}

#[test]
fn instances_are_removed_only_after_fewer_were_enough_for_a_while() {
    let (state, mut now) = (&mut State::default(), 0);
    let mut count = *follow(&policy(), state, vec![20.0; 24], &mut now).last().unwrap();
    let mut calm = |seconds: i64| {
        (0..seconds / 5).for_each(|_| {
            now += 5;
            let seen = Observation { ready: count, demand: Some(2.0), ..Observation::default() };
            count = policy().decide(state, &seen, Timestamp::from_millis(now * 1000)).to;
        });
        count
    };
    assert!(calm(60) >= 20, "within the start-up time");
    assert!(calm(60) < 20, "after the start-up time");
}

#[test]
fn an_absurd_measurement_is_clamped_before_learning() {
    let state = &mut State::default();
    follow(&policy(), state, [2.0, f64::MAX, 2.0], &mut 0);
    let json = serde_json::to_string(state).unwrap();
    assert_eq!(&serde_json::from_str::<State>(&json).unwrap(), state);
}

#[test]
fn noise_around_a_whole_number_causes_few_changes() {
    let demands = noise(8000).into_iter().map(|noise| 5.0 + 0.3 * noise);
    let counts = follow(&policy(), &mut State::default(), demands, &mut 0);
    let changes = counts[2000..].windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes <= 12, "{changes} changes in eight hours");
}

#[test]
fn the_current_demand_is_covered_even_if_the_forecast_is_lower() {
    let demands: Vec<f64> = noise(3000).into_iter().map(|noise| 10.0 + 8.0 * noise).collect();
    let counts = follow(&policy(), &mut State::default(), demands.clone(), &mut 0);
    assert!(counts.iter().zip(&demands).all(|(count, demand)| f64::from(*count) >= *demand));
}

#[test]
fn more_demand_never_needs_fewer_instances() {
    let wanted: Vec<u32> = (0..200)
        .map(|tenths| follow(&policy(), &mut State::default(), [f64::from(tenths) / 10.0], &mut 0)[0])
        .collect();
    assert!(wanted.is_sorted(), "{wanted:?}");
}

#[test]
fn the_bounds_apply_without_a_known_demand() {
    let policy = Policy::Demand(Demand::new(Bounds::new(3, 5).unwrap()));
    let decide = |ready| {
        policy.decide(
            &mut State::default(),
            &Observation { ready, ..Observation::default() },
            Timestamp::from_millis(0),
        )
    };
    assert_eq!((decide(1).outcome, decide(1).to), (Outcome::ScaledUp, 3));
    assert_eq!((decide(4).outcome, decide(4).to), (Outcome::Unsure, 4));
    assert_eq!((decide(9).outcome, decide(9).to), (Outcome::ScaledDown, 5));
}

#[test]
fn a_bottleneck_does_not_prevent_scaling_in() {
    let policy = Policy::Demand(policy());
    let seen =
        Observation { ready: 9, demand: Some(2.0), bottleneck: Some("redis".to_owned()), ..Observation::default() };
    assert_eq!(policy.decide(&mut State::default(), &seen, Timestamp::from_millis(0)).outcome, Outcome::ScaledDown);
    let busy = Observation { demand: Some(20.0), ..seen };
    assert_eq!(policy.decide(&mut State::default(), &busy, Timestamp::from_millis(0)).outcome, Outcome::StoreBound);
}

#[test]
fn the_state_after_a_day_is_a_few_kilobytes() {
    let mut state = State::default();
    let policy = Demand { look_ahead: Duration::from_secs(600), ..policy() };
    follow(&policy, &mut state, noise(17_280).into_iter().map(|noise| 20.0 + 19.0 * noise), &mut 0);
    let bytes = serde_json::to_string(&state).unwrap().len();
    assert!(bytes < 8192, "{bytes}");
}

#[test]
fn a_clock_that_goes_back_resets_the_forecast() {
    let mut state = State::default();
    follow(&policy(), &mut state, vec![50.0; 20], &mut 1_000_000);
    let counts = follow(&policy(), &mut state, vec![2.0; 60], &mut 0);
    assert!(*counts.last().unwrap() < 10, "{counts:?}");
}
