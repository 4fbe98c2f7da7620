//! The performance tuner: each cycle compares the monitor's measurements with the limits of rules, and adjusts knobs of the
//! running service.
//!
//! This is `PerformanceTuner` and `VerticalScalingManager` of the reference design with their rules, history and statistics.
//! Where the reference design only names an action, this tuner adjusts a knob. Rules may share a knob; it follows the rule that
//! asks for most, so they don't fight. While tuning is switched off, all knobs have their normal values.
//!
//! `hysteresis` decides, without I/O or a clock. `knob` delivers values to components. Concurrency limits are not knobs: the
//! admission controls them, and two controllers of one value fight.

mod history;
mod hysteresis;
mod knob;
mod rule;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use history::History;
pub use history::{Action, Direction, Effect, Record};
use hysteresis::{Hysteresis, Move};
pub use knob::{Knob, Tunable, quarter_steps};
pub use rule::{InvalidRule, Metric, Rule, default_rules};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Timestamp,
    monitor::{Monitor, ResourceMetrics},
    sync::MutexExt,
    ticks::Ticks,
};

/// Names of all knobs.
pub const KNOBS: [&str; 5] =
    ["hashing_concurrency", "hashing_memory", "cache_size", "reap_interval", "compaction_interval"];

/// Names of the knobs that only embedded storage has.
pub const EMBEDDED_KNOBS: [&str; 2] = ["cache_size", "compaction_interval"];

/// How long calm has to last before the first step back, in intervals.
const CALM_INTERVALS: u32 = 3;

/// The tuner of an instance. Clones share its state.
#[derive(Debug, Clone)]
pub struct Tuner(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    enabled: bool,
    interval: Duration,
    knobs: Vec<Knob>,
    rules: Vec<(Rule, Hysteresis)>,
    history: History,
}

/// The outcome of a cycle.
#[derive(Debug, Clone, PartialEq)]
pub enum Cycle {
    /// Tuning is switched off.
    Disabled,
    /// There is no measurement since the previous cycle.
    NoMetrics,
    /// Every rule was compared; these adjustments were made.
    Completed(Vec<Action>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct KnobStatus {
    pub name: &'static str,
    pub unit: &'static str,
    pub value: u64,
    /// The value while there is no pressure.
    pub normal: u64,
    /// The smallest and the largest possible value.
    pub bounds: (u64, u64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct RuleStatus {
    pub rule: Rule,
    /// Steps in force.
    pub level: usize,
    /// All steps.
    pub steps: usize,
    /// The value below which the rule is calm, in percent.
    pub calm_below: f64,
    pub calm_since: Option<Timestamp>,
    /// How long calm has to last before a step back.
    pub wait: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TunerStatus {
    pub enabled: bool,
    pub interval: Duration,
    pub knobs: Vec<KnobStatus>,
    pub rules: Vec<RuleStatus>,
    /// Cycles since the start.
    pub cycles: u64,
    /// Adjustments since the start.
    pub actions: u64,
    /// Adjustments in the last ten cycles.
    pub recent_actions: usize,
}

impl Tuner {
    /// Creates a tuner that runs a cycle every `interval`. Knobs of a rule that are not among `knobs` are ignored.
    pub fn new(enabled: bool, interval: Duration, knobs: Vec<Knob>, rules: Vec<Rule>) -> Self {
        let with_hysteresis = |rule: Rule| {
            let of_rule = knobs.iter().filter(|knob| rule.knobs.iter().any(|name| name == knob.name));
            let max_level = of_rule.map(Knob::max_level).max().unwrap_or(0);
            let hysteresis = Hysteresis::new(rule.limit, max_level, interval * CALM_INTERVALS);
            (rule, hysteresis)
        };
        let rules = rules.into_iter().map(with_hysteresis).collect();
        Self(Arc::new(Mutex::new(State { enabled, interval, knobs, rules, history: History::default() })))
    }

    /// Runs a cycle every interval, until stopped.
    pub async fn run(self, monitor: Monitor, stop: CancellationToken) {
        let interval = self.0.locked().interval;
        let mut ticks = Ticks::every(interval);
        // The first cycle needs an interval of measurements.
        ticks.reset();
        while ticks.next_until(&stop).await {
            self.run_cycle(&monitor, Timestamp::now());
        }
    }

    /// Runs a cycle on the measurements since the previous one, over one interval at most.
    pub fn run_cycle(&self, monitor: &Monitor, now: Timestamp) -> Cycle {
        let mut state = self.0.locked();
        let window = state.history.last().map_or(state.interval, |last| now.since(last).min(state.interval));
        state.cycle(monitor.average(window, now).or_else(|| monitor.current()), now)
    }

    /// Switches tuning on or off. Off restores the normal value of every knob.
    pub fn set_enabled(&self, enabled: bool, monitor: &Monitor, now: Timestamp) {
        let mut state = self.0.locked();
        if state.enabled != enabled {
            state.enabled = enabled;
            tracing::info!(enabled, "tuning switched");
            if !enabled {
                state.reset(monitor.current(), now);
            }
        }
    }

    pub fn status(&self) -> TunerStatus {
        let state = self.0.locked();
        TunerStatus {
            enabled: state.enabled,
            interval: state.interval,
            knobs: state.knobs.iter().map(KnobStatus::from).collect(),
            rules: state.rules.iter().map(RuleStatus::from).collect(),
            cycles: state.history.cycles(),
            actions: state.history.actions(),
            recent_actions: state.history.recent_actions(),
        }
    }

    /// Returns up to `limit` of the last thousand cycles, newest first.
    pub fn history(&self, limit: usize) -> Vec<Record> {
        self.0.locked().history.newest(limit)
    }
}

impl State {
    fn cycle(&mut self, metrics: Option<ResourceMetrics>, now: Timestamp) -> Cycle {
        if !self.enabled {
            return Cycle::Disabled;
        }
        // One measurement justifies one step at most.
        let Some(metrics) = metrics.filter(|metrics| self.history.last_measured() != Some(metrics.timestamp)) else {
            return Cycle::NoMetrics;
        };
        let reasons: Vec<Option<Reason>> = self
            .rules
            .iter_mut()
            .map(|(rule, hysteresis)| {
                let (value, calm_since) = (rule.metric.read(&metrics), hysteresis.calm_since());
                let direction = match hysteresis.advance(value, now)? {
                    Move::Relieve => Direction::Relieve,
                    Move::StepBack => Direction::StepBack,
                };
                Some(Reason { direction, trigger: trigger(rule, direction, value, calm_since, now) })
            })
            .collect();
        Cycle::Completed(self.apply(&reasons, metrics, now))
    }

    /// Restores the normal value of every knob.
    fn reset(&mut self, metrics: Option<ResourceMetrics>, now: Timestamp) {
        let reason = || Reason { direction: Direction::Reset, trigger: "tuning was switched off".to_owned() };
        let reasons: Vec<_> = self.rules.iter().map(|(_, hysteresis)| (hysteresis.level() > 0).then(reason)).collect();
        for (_, hysteresis) in &mut self.rules {
            hysteresis.reset();
        }
        self.apply(&reasons, metrics.unwrap_or_else(|| ResourceMetrics::unknown(now)), now);
    }

    /// Sets each knob to the highest level among its rules, and records the cycle. Returns the adjustments.
    fn apply(&mut self, reasons: &[Option<Reason>], metrics: ResourceMetrics, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        for knob in &self.knobs {
            let of_knob = || {
                let rules = self.rules.iter().zip(reasons);
                rules.filter(|((rule, _), _)| rule.knobs.iter().any(|name| name == knob.name))
            };
            let level = of_knob().map(|((_, hysteresis), _)| hysteresis.level()).max().unwrap_or(0);
            let Some((before, after)) = knob.set_level(level) else { continue };
            let Some(((rule, _), reason)) = of_knob().find_map(|(rule, reason)| Some((rule, reason.as_ref()?))) else {
                continue;
            };
            let effect = Effect { metric: rule.metric, before: rule.metric.read(&metrics), after: None, change: None };
            tracing::info!(
                rule = rule.name,
                trigger = reason.trigger,
                knob = knob.name,
                before,
                after,
                "knob adjusted"
            );
            actions.push(Action {
                rule: rule.name.clone(),
                trigger: reason.trigger.clone(),
                direction: reason.direction,
                knob: knob.name,
                unit: knob.unit,
                before,
                after,
                effect,
            });
        }
        self.history.add(Record { timestamp: now, metrics, actions: actions.clone() });
        actions
    }
}

struct Reason {
    direction: Direction,
    trigger: String,
}

fn trigger(
    rule: &Rule,
    direction: Direction,
    value: Option<f64>,
    calm_since: Option<Timestamp>,
    now: Timestamp,
) -> String {
    let (metric, value) = (rule.metric.name(), value.unwrap_or_default());
    match direction {
        Direction::Relieve => format!("{metric} was {value:.1}, above {:.1}", rule.limit),
        _ => {
            let calm = calm_since.map_or(0, |since| now.since(since).as_secs());
            format!("{metric} was {value:.1}, calm for {calm} s")
        }
    }
}

impl From<&Knob> for KnobStatus {
    fn from(knob: &Knob) -> Self {
        let (value, normal, bounds) = (knob.value(), knob.normal(), knob.bounds());
        Self { name: knob.name, unit: knob.unit, value, normal, bounds }
    }
}

impl From<&(Rule, Hysteresis)> for RuleStatus {
    fn from((rule, hysteresis): &(Rule, Hysteresis)) -> Self {
        Self {
            rule: rule.clone(),
            level: hysteresis.level(),
            steps: hysteresis.max_level(),
            calm_below: hysteresis.calm_below(),
            calm_since: hysteresis.calm_since(),
            wait: hysteresis.wait(),
        }
    }
}

#[cfg(test)]
mod tests;
