use symbolon_scaler::{Demand, Policy, PolicyName};

use super::*;

fn trace() -> Trace {
    // A day in buckets of five minutes: a wave, and a burst.
    let wave = |bucket: usize| 9000.0 * (1.5 + (bucket as f64 / 288.0 * std::f64::consts::TAU).sin());
    let counts = (0..288).map(|bucket| wave(bucket) * if bucket == 200 { 2.0 } else { 1.0 }).collect();
    Trace { bucket: Duration::from_secs(300), counts }
}

fn settings(startup_seconds: u64) -> Settings {
    Settings {
        capacity: 10.0,
        startup_delay: Duration::from_secs(startup_seconds),
        metric_lag: Duration::from_secs(5),
        bounds: Bounds::new(1, 60).unwrap(),
    }
}

fn contenders() -> [Contender; 4] {
    let bounds = settings(0).bounds;
    [
        Contender::ours(Policy::new(PolicyName::Demand, bounds), 0.8),
        Contender::ours(Policy::new(PolicyName::Threshold, bounds), 0.8),
        Contender::Hpa(Hpa::new(0.8)),
        Contender::Kpa(Kpa::new(0.7)),
    ]
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let arrivals = || Arrivals::new(&trace(), 1.0, 7);
    for (first, second) in contenders().into_iter().zip(contenders()) {
        assert_eq!(run(first, &arrivals(), &settings(60)), run(second, &arrivals(), &settings(60)));
    }
    assert_ne!(arrivals(), Arrivals::new(&trace(), 1.0, 8));
}

#[test]
fn arrivals_keep_the_count_of_each_bucket() {
    let arrivals = Arrivals::new(&trace(), 100.0, 1);
    for (bucket, count) in trace().counts.iter().enumerate() {
        let arrived = arrivals.mean(bucket * 300, bucket * 300 + 300) * 300.0;
        // Within five standard deviations of a Poisson distribution.
        assert!((arrived - count * 100.0).abs() < 5.0 * (count * 100.0).sqrt(), "bucket {bucket}: {arrived}");
    }
}

#[test]
fn empty_buckets_stay_empty() {
    let trace = Trace { bucket: Duration::from_secs(60), counts: vec![0.0, 0.0, 600.0, 0.0] };
    let arrivals = Arrivals::new(&trace, 1.0, 1);
    assert_eq!((arrivals.mean(0, 120), arrivals.mean(180, 240)), (0.0, 0.0));
    assert!(arrivals.mean(120, 180) > 5.0);
}

#[test]
fn a_run_stays_within_its_bounds_and_sums_its_cost() {
    let arrivals = Arrivals::new(&trace(), 1.0, 1);
    for contender in contenders() {
        let run = run(contender, &arrivals, &settings(60));
        assert!(run.counts.iter().all(|count| (1..=60).contains(count)));
        assert_eq!(run.report.node_seconds, run.counts.iter().map(|count| u64::from(*count)).sum::<u64>());
    }
}

#[test]
fn enough_instances_cause_no_violation() {
    let arrivals = Arrivals::new(&trace(), 1.0, 1);
    let bounds = Bounds::new(60, 60).unwrap();
    let report = run(Contender::Hpa(Hpa::new(0.8)), &arrivals, &Settings { bounds, ..settings(60) }).report;
    assert_eq!((report.violation_seconds, report.changes, report.shed_share), (0, 0, 0.0));
}

#[test]
fn requests_beyond_the_capacity_are_rejected() {
    let arrivals = Arrivals::from_counts([30; 100]);
    let bounds = Bounds::new(2, 2).unwrap();
    let report = run(Contender::Hpa(Hpa::new(0.8)), &arrivals, &Settings { bounds, ..settings(60) }).report;
    assert_eq!((report.violation_seconds, report.node_seconds), (100, 200));
    assert!((report.shed_share - 1.0 / 3.0).abs() < 1e-9);
}

#[test]
fn an_instance_serves_after_the_delay_and_costs_from_its_start() {
    let mut fleet = Fleet::new(1);
    fleet.set(3, 100, 60);
    fleet.advance(159);
    assert_eq!((fleet.ready(), fleet.count()), (1, 3));
    fleet.advance(160);
    assert_eq!((fleet.ready(), fleet.count()), (3, 3));
}

#[test]
fn starting_instances_end_first() {
    let mut fleet = Fleet::new(3);
    fleet.set(5, 0, 60);
    fleet.set(6, 10, 60);
    fleet.set(4, 20, 60);
    assert_eq!((fleet.ready(), fleet.starting()), (3, 1));
    fleet.set(2, 30, 60);
    assert_eq!((fleet.ready(), fleet.starting()), (2, 0));
}

#[test]
fn a_comparison_interpolates_between_two_runs() {
    let report = |contender: Contender, node_seconds, violation_seconds| {
        let report = run(contender, &Arrivals::from_counts([1]), &settings(0)).report;
        Report { node_seconds, violation_seconds, ..report }
    };
    let ours = |cost| report(contenders()[0].clone(), cost, 5);
    let other = |cost, violations| report(contenders()[2].clone(), cost, violations);
    let comparisons = compare(&[ours(50), ours(150), ours(200), ours(300)], &[other(200, 10), other(100, 50)]);
    let others: Vec<_> = comparisons.iter().map(|comparison| comparison.other_violation_seconds).collect();
    assert_eq!(others, [None, Some(30.0), Some(10.0), None]);
}

#[test]
fn charts_are_svg_with_a_line_for_each_policy() {
    let arrivals = Arrivals::new(&trace(), 1.0, 1);
    let runs: Vec<Run> = contenders().into_iter().map(|contender| run(contender, &arrivals, &settings(60))).collect();
    let reports: Vec<Report> = runs.iter().map(|run| run.report).collect();
    for svg in [chart::course(&runs, &arrivals, &settings(60)).unwrap(), chart::frontiers(&reports).unwrap()] {
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(ContenderName::ALL.iter().all(|name| svg.contains(name.name())));
    }
}

#[test]
fn the_demand_policy_has_fewer_violations_than_the_threshold_policy_on_a_daily_wave() {
    let arrivals = Arrivals::new(&trace(), 1.0, 1);
    let settings = settings(60);
    let demand = Demand { look_ahead: Duration::from_secs(70), ..Demand::new(settings.bounds) };
    let demand = run(Contender::ours(Policy::Demand(demand), 0.8), &arrivals, &settings).report;
    let threshold = run(contenders()[1].clone(), &arrivals, &settings).report;
    assert!(demand.violation_seconds * 4 < threshold.violation_seconds, "{demand:?} {threshold:?}");
}
