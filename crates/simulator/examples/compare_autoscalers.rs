//! Compares four autoscalers on a synthetic day with a burst, and writes a chart of their instances if a file is named.
//!
//! `cargo run -p symbolon-simulator --example compare_autoscalers -- chart.svg`

use std::{error::Error, f64::consts::TAU, time::Duration};

use symbolon_scaler::{Bounds, Demand, Policy, Threshold};
use symbolon_simulator::scaling::{Arrivals, Contender, DECIDE_EVERY, Hpa, Kpa, Run, Settings, Trace, chart, run};

/// Returns a day in buckets of five minutes: a wave between one and nine instances, and a burst.
fn trace() -> Trace {
    let wave = |bucket: usize| 150_000.0 - 120_000.0 * (bucket as f64 / 288.0 * TAU).cos();
    let counts = (0..288).map(|bucket| wave(bucket) * if bucket == 200 { 1.8 } else { 1.0 }).collect();
    Trace { bucket: Duration::from_secs(300), counts }
}

fn main() -> Result<(), Box<dyn Error>> {
    let bounds = Bounds::new(2, 40)?;
    let (startup_delay, metric_lag) = (Duration::from_secs(60), Duration::from_secs(5));
    let settings = Settings { capacity: 100.0, startup_delay, metric_lag, bounds };
    let demand = Demand { look_ahead: startup_delay + metric_lag + DECIDE_EVERY, ..Demand::new(bounds) };
    let contenders = [
        Contender::ours(Policy::Demand(demand), 0.8),
        Contender::ours(Policy::Threshold(Threshold::new(bounds)), 0.8),
        Contender::Hpa(Hpa::new(0.8)),
        Contender::Kpa(Kpa::new(0.7)),
    ];
    let arrivals = Arrivals::new(&trace(), 1.0, 1);
    let runs: Vec<Run> = contenders.into_iter().map(|contender| run(contender, &arrivals, &settings)).collect();
    println!("{:<12}{:>22}{:>16}{:>12}", "policy", "seconds overloaded", "node hours", "changes");
    for Run { report, .. } in &runs {
        let hours = report.node_seconds as f64 / 3600.0;
        println!("{:<12}{:>22}{hours:>16.1}{:>12}", report.policy.name(), report.violation_seconds, report.changes);
    }
    if let Some(file) = std::env::args().nth(1) {
        std::fs::write(file, chart::course(&runs, &arrivals, &settings)?)?;
    }
    Ok(())
}
