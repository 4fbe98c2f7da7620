use super::*;

const INTERVAL: Duration = Duration::from_secs(60);

fn measured(cpu: f64, memory: f64) -> ResourceMetrics {
    ResourceMetrics {
        cpu_percent: Some(cpu),
        memory_percent: Some(memory),
        ..ResourceMetrics::unknown(Timestamp::from_millis(0))
    }
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(minute * 60_000)
}

/// Returns a tuner with the default rules and `own` ones, a knob of the cpu rule and one of the memory rule.
fn tuner(own: &[&str]) -> (Tuner, Tunable, Tunable) {
    let (hashing, hashing_tunable) = Knob::new("hashing_concurrency", "threads", 4, vec![3, 2, 1]);
    let (memory, memory_tunable) = Knob::new("hashing_memory", "bytes", 80, vec![60, 40, 20]);
    let own = own.iter().map(|text| text.parse().expect("a rule"));
    let rules = default_rules().into_iter().chain(own).collect();
    (Tuner::new(true, INTERVAL, vec![hashing, memory], rules), hashing_tunable, memory_tunable)
}

fn cycle(tuner: &Tuner, minute: i64, metrics: ResourceMetrics) -> Cycle {
    tuner.0.locked().cycle(Some(ResourceMetrics { timestamp: at(minute), ..metrics }), at(minute))
}

#[test]
fn pressure_adjusts_only_the_knobs_of_its_rule() {
    let (tuner, hashing, memory) = tuner(&[]);
    let Cycle::Completed(actions) = cycle(&tuner, 0, measured(93.1, 50.0)) else { panic!("it is enabled") };
    assert_eq!((hashing.get(), memory.get()), (3, 80));
    let [action] = actions.as_slice() else { panic!("one knob: {actions:?}") };
    assert_eq!((action.knob, action.before, action.after), ("hashing_concurrency", 4, 3));
    assert_eq!((action.rule.as_str(), action.direction), ("cpu_optimization", Direction::Relieve));
    assert_eq!(action.trigger, "cpu_percent was 93.1, above 80.0");
}

#[test]
fn the_effect_is_recorded_one_cycle_later() {
    let (tuner, ..) = tuner(&[]);
    cycle(&tuner, 0, measured(93.0, 50.0));
    let effect = |tuner: &Tuner| tuner.history(10).last().expect("the first cycle").actions[0].effect;
    assert_eq!((effect(&tuner).before, effect(&tuner).after), (Some(93.0), None));
    cycle(&tuner, 1, measured(61.0, 50.0));
    assert_eq!((effect(&tuner).after, effect(&tuner).change), (Some(61.0), Some(-32.0)));
    cycle(&tuner, 2, measured(10.0, 50.0));
    assert_eq!(effect(&tuner).after, Some(61.0));
}

#[test]
fn a_shared_knob_follows_the_rule_that_asks_for_most() {
    let (tuner, hashing, _) = tuner(&["own: memory_percent > 60 -> hashing_concurrency"]);
    cycle(&tuner, 0, measured(90.0, 70.0));
    assert_eq!(hashing.get(), 3, "both ask for one step");
    cycle(&tuner, 1, measured(5.0, 70.0));
    assert_eq!(hashing.get(), 2);
    for minute in 2..20 {
        cycle(&tuner, minute, measured(5.0, 55.0));
    }
    assert_eq!(hashing.get(), 2, "the cpu rule has stepped back, the other one is not calm");
}

#[test]
fn switching_off_restores_normal_values_and_stops_adjustments() {
    let (tuner, hashing, memory) = tuner(&[]);
    cycle(&tuner, 0, measured(99.0, 99.0));
    assert_eq!((hashing.get(), memory.get()), (3, 60));
    let monitor = Monitor::new(Duration::from_secs(5));
    tuner.set_enabled(false, &monitor, at(1));
    assert_eq!((hashing.get(), memory.get()), (4, 80));
    let record = tuner.history(1).pop().expect("the switch");
    assert!(record.actions.iter().all(|action| action.direction == Direction::Reset), "{record:?}");
    assert_eq!(cycle(&tuner, 2, measured(99.0, 99.0)), Cycle::Disabled);
    assert_eq!(hashing.get(), 4);
    tuner.set_enabled(true, &monitor, at(3));
    cycle(&tuner, 3, measured(99.0, 99.0));
    assert_eq!(hashing.get(), 3);
}

#[test]
fn without_measurements_nothing_is_adjusted() {
    let (tuner, hashing, _) = tuner(&[]);
    assert_eq!(tuner.run_cycle(&Monitor::new(Duration::from_secs(5)), at(0)), Cycle::NoMetrics);
    assert_eq!(cycle(&tuner, 1, ResourceMetrics::unknown(at(1))), Cycle::Completed(Vec::new()));
    assert_eq!(hashing.get(), 4);
}

#[test]
fn one_measurement_adjusts_a_knob_only_once() {
    let (tuner, hashing, _) = tuner(&[]);
    let metrics = ResourceMetrics { timestamp: at(7), ..measured(99.0, 50.0) };
    assert!(matches!(tuner.0.locked().cycle(Some(metrics), at(7)), Cycle::Completed(_)));
    assert_eq!(tuner.0.locked().cycle(Some(metrics), at(8)), Cycle::NoMetrics);
    assert_eq!(hashing.get(), 3);
}

#[test]
fn statistics_count_cycles_and_actions() {
    let (tuner, ..) = tuner(&[]);
    for minute in 0..15 {
        cycle(&tuner, minute, measured(99.0, 50.0));
    }
    let status = tuner.status();
    assert_eq!((status.cycles, status.actions, status.recent_actions), (15, 3, 0));
    let cpu = &status.rules[0];
    assert_eq!((cpu.level, cpu.steps), (3, 3));
    let knob = &status.knobs[0];
    assert_eq!((knob.value, knob.normal, knob.bounds), (1, 4, (1, 4)));
}

#[test]
fn the_history_is_bounded() {
    let (tuner, ..) = tuner(&[]);
    for minute in 0..1100 {
        cycle(&tuner, minute, measured(10.0, 10.0));
    }
    assert_eq!((tuner.history(usize::MAX).len(), tuner.status().cycles), (1000, 1100));
    assert_eq!(tuner.history(1)[0].timestamp, at(1099));
}
