//! What an instance contributes to scaling: the policy from its settings, and reports of its load.

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

const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum age of the load reports that a decision uses, including heartbeats.
const MAX_REPORT_AGE: Duration = Duration::from_secs(2);

/// Returns the scaling policy that the settings describe.
pub(super) fn policy(settings: &Settings) -> Result<Policy, ConfigError> {
    let bounds = Bounds::new(settings.scaling_min, settings.scaling_max)
        .map_err(|error| ConfigError(vec![format!("scaling_min, scaling_max: {error}")]))?;
    let mut policy = Policy::new(settings.scaling_policy, bounds);
    match &mut policy {
        Policy::Demand(demand) => {
            demand.look_ahead =
                settings.scaling_startup.unwrap_or(demand.look_ahead) + MAX_REPORT_AGE + DECISION_INTERVAL
        }
        Policy::Threshold(threshold) => {
            threshold.cooldown = settings.scaling_cooldown;
            threshold.rules = settings.scaling_rules.0.clone();
        }
    }
    Ok(policy)
}

/// Reports the offered load and the used resources every second, until stopped.
pub(super) async fn report_load(app: App, load: watch::Sender<Option<Load>>, stop: CancellationToken) {
    let mut ticks = Ticks::every(REPORT_INTERVAL);
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
