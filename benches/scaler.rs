//! What a decision of each scaling policy costs, with the state of a day, and its checkpoint as JSON.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use symbolon_scaler::{Bounds, Connections, Observation, Policy, PolicyName, State, Timestamp, vertical::Usage};

const STEP_SECONDS: i64 = 5;
const DAY_SECONDS: i64 = 86_400;

fn observation(second: i64) -> Observation {
    let demand = 5.0 - 4.0 * (second as f64 / DAY_SECONDS as f64 * std::f64::consts::TAU).cos();
    Observation {
        ready: 10,
        connections: vec![Connections { current: (demand * 80.0) as u64, max: 1000 }; 10],
        demand: Some(demand),
        ..Observation::default()
    }
}

fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("decision");
    for &name in PolicyName::ALL {
        let policy = Policy::new(name, Bounds::new(2, 20).expect("valid bounds"));
        let mut state = State::default();
        for second in (0..DAY_SECONDS).step_by(STEP_SECONDS as usize) {
            policy.decide(&mut state, &observation(second), Timestamp::from_millis(second * 1000));
        }
        let mut second = DAY_SECONDS;
        group.bench_function(name.name(), |b| {
            b.iter(|| {
                second += STEP_SECONDS;
                policy.decide(&mut state, black_box(&observation(second)), Timestamp::from_millis(second * 1000))
            });
        });
        group.bench_function(format!("{name}, state as JSON and back"), |b| {
            b.iter(|| {
                let json = serde_json::to_string(black_box(&state)).expect("JSON");
                serde_json::from_str::<State>(&json).expect("a state")
            });
        });
    }
    group.finish();
}

fn sizes(c: &mut Criterion) {
    let mut usage = Usage::default();
    for minute in 0..7 * 24 * 60 {
        usage.add(Some(0.5), Some(2e8), Timestamp::from_millis(minute * 60_000));
    }
    c.bench_function("sizes from a week of use", |b| b.iter(|| black_box(&usage).sizes()));
}

criterion_group!(benches, decisions, sizes);
criterion_main!(benches);
