//! Runs both policies over a day of rising and falling demand, and prints the number of instances by hour.
//!
//! `cargo run -p symbolon-scaler --example daily_wave`

use std::f64::consts::TAU;

use symbolon_scaler::{Bounds, Connections, InvalidBounds, Observation, Policy, PolicyName, State, Timestamp};

const STEP_SECONDS: i64 = 5;
const CONNECTIONS: u64 = 100;

/// Returns the demand at a time of day, in instances at their target utilization.
fn demand(second: i64) -> f64 {
    5.0 - 4.0 * (second as f64 / 86_400.0 * TAU).cos()
}

/// Returns the number of instances at the end of each hour. Instances are ready at once.
fn run(name: PolicyName) -> Result<Vec<u32>, InvalidBounds> {
    let policy = Policy::new(name, Bounds::new(2, 20)?);
    let (mut state, mut instances, mut hours) = (State::default(), 2, Vec::new());
    for second in (0..86_400).step_by(STEP_SECONDS as usize) {
        let demand = demand(second);
        let used = (demand * 0.8 * CONNECTIONS as f64 / f64::from(instances)).min(CONNECTIONS as f64) as u64;
        let seen = Observation {
            ready: instances,
            connections: vec![Connections { current: used, max: CONNECTIONS }; instances as usize],
            demand: Some(demand),
            ..Observation::default()
        };
        instances = policy.decide(&mut state, &seen, Timestamp::from_millis(second * 1000)).to;
        if second % 3600 == 3600 - STEP_SECONDS {
            hours.push(instances);
        }
    }
    Ok(hours)
}

fn main() -> Result<(), InvalidBounds> {
    let counts = [run(PolicyName::Demand)?, run(PolicyName::Threshold)?];
    println!("{:>5}{:>10}{:>10}{:>12}", "hour", "needed", "demand", "threshold");
    for (hour, (by_demand, by_threshold)) in counts[0].iter().zip(&counts[1]).enumerate() {
        let needed = demand((hour as i64 + 1) * 3600).ceil();
        println!("{:>5}{needed:>10}{by_demand:>10}{by_threshold:>12}", hour + 1);
    }
    Ok(())
}
