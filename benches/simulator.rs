//! How long simulations take: a minute of load balancing for each algorithm, and a day of each autoscaler.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use symbolon_balancer::Algorithm;
use symbolon_scaler::{Bounds, Policy, PolicyName};
use symbolon_simulator::{
    balancing::{self, Scenario},
    scaling::{self, Arrivals, Contender, Hpa, Kpa, Trace},
};

fn balancing(c: &mut Criterion) {
    let mut group = c.benchmark_group("balancing");
    group.sample_size(10);
    for &algorithm in Algorithm::ALL {
        group.bench_function(algorithm.name(), |b| {
            b.iter(|| balancing::run(algorithm, Scenario::Slow, balancing::Settings::default()));
        });
    }
    group.finish();
}

fn scaling(c: &mut Criterion) {
    let bounds = Bounds::new(2, 40).expect("valid bounds");
    let delay = Duration::from_secs(60);
    let settings =
        scaling::Settings { capacity: 100.0, startup_delay: delay, metric_lag: Duration::from_secs(5), bounds };
    let wave = |bucket: usize| 150_000.0 - 120_000.0 * (bucket as f64 / 288.0 * std::f64::consts::TAU).cos();
    let trace = Trace { bucket: Duration::from_secs(300), counts: (0..288).map(wave).collect() };
    let arrivals = Arrivals::new(&trace, 1.0, 1);
    let contenders = [
        Contender::ours(Policy::new(PolicyName::Demand, bounds), 0.8),
        Contender::ours(Policy::new(PolicyName::Threshold, bounds), 0.8),
        Contender::Hpa(Hpa::new(0.8)),
        Contender::Kpa(Kpa::new(0.7)),
    ];
    let mut group = c.benchmark_group("scaling");
    group.sample_size(10);
    for contender in contenders {
        group.bench_function(contender.name().name(), |b| {
            b.iter(|| scaling::run(contender.clone(), &arrivals, &settings));
        });
    }
    group.finish();
}

criterion_group!(benches, balancing, scaling);
criterion_main!(benches);
