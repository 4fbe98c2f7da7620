//! What an instance contributes to the scaler: what it is offered and uses, and by what the fleet's number is decided.

use std::{num::NonZero, time::Duration};

use symbolon_scaler::{Bounds, Policy};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    breaker::Circuit,
    config::{ConfigError, Settings},
    fleet::DECISION_INTERVAL,
    model::Load,
    ticks::Ticks,
};

const EVERY: Duration = Duration::from_secs(1);
/// How old what a decision is made from is at most, heartbeats included.
const MEASURED_LATE: Duration = Duration::from_secs(2);

/// The policy that the settings name.
pub(super) fn policy(settings: &Settings) -> Result<Policy, ConfigError> {
    let bounds = Bounds::new(settings.scaling_min, settings.scaling_max)
        .map_err(|error| ConfigError(vec![format!("scaling_min, scaling_max: {error}")]))?;
    let mut policy = Policy::new(settings.scaling_policy, bounds);
    match &mut policy {
        Policy::Demand(demand) => {
            demand.look_ahead =
                settings.scaling_startup.unwrap_or(demand.look_ahead) + MEASURED_LATE + DECISION_INTERVAL
        }
        Policy::Threshold(threshold) => {
            threshold.cooldown = settings.scaling_cooldown;
            threshold.rules = settings.scaling_rules.0.clone();
        }
    }
    Ok(policy)
}

/// Says each second what this instance is offered and uses, until stopped.
pub(super) async fn report_load(app: App, load: watch::Sender<Option<Load>>, stop: CancellationToken) {
    let mut ticks = Ticks::every(EVERY);
    while ticks.next_until(&stop).await {
        load.send_replace(current(&app));
    }
}

fn current(app: &App) -> Option<Load> {
    let (measured, resources) = (app.load().measured()?, app.monitor().current());
    let machine = || std::thread::available_parallelism().map_or(1.0, |cores| NonZero::get(cores) as f64);
    let limit = resources.and_then(|resources| resources.cpu_limit_cores);
    let cores = app.settings().scaling_cores.map_or_else(|| limit.unwrap_or_else(machine), |cores| cores.0);
    let slow = app.circuits().into_iter().filter(|(_, circuit)| *circuit != Circuit::Closed).map(|(store, _)| store);
    Some(Load {
        offered: measured.offered,
        cost: measured.cost,
        usable_cores: cores * f64::from(app.settings().scaling_target) / 100.0,
        used_cores: measured.used_cores,
        memory_bytes: crate::load::resident_bytes(),
        cpu_percent: resources.and_then(|resources| resources.cpu_percent),
        memory_percent: resources.and_then(|resources| resources.memory_percent),
        slow_stores: slow.collect(),
    })
}
