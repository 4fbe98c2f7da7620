//! The performance tuner: each cycle, rules compare what the monitor measured with their limits, and turn knobs of the running
//! service.
//!
//! The seed's `PerformanceTuner` and `VerticalScalingManager`, with its rules, history and statistics; where it names what it
//! would do, a knob is turned. Several rules may share a knob: it is turned as far as the one that asks for most, so they don't
//! fight. While tuning is switched off, all knobs are at their normal values.
//!
//! `course` decides, without I/O or a clock; `knob` is how a component is told. In-flight limits are none of the tuner's knobs:
//! admission has a loop of its own, and two controllers of one value fight.

mod course;
mod history;
mod knob;
mod rule;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use course::{Course, Move};
use history::History;
pub use history::{Action, Direction, Effect, Record};
pub use knob::{Dial, Knob, quarter_less};
pub use rule::{InvalidRule, Metric, Rule};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Timestamp,
    monitor::{Monitor, ResourceMetrics},
    sync::MutexExt,
    ticks::Ticks,
};

/// The names of all knobs that there can be.
pub const KNOBS: [&str; 5] =
    ["hashing_concurrency", "hashing_memory", "cache_size", "reap_interval", "compaction_interval"];

/// Those that only embedded storage has.
pub const EMBEDDED_KNOBS: [&str; 2] = ["cache_size", "compaction_interval"];

/// How many intervals calm lasts at first before a step back.
const CALM_INTERVALS: u32 = 3;

/// Turns knobs; clones share them.
#[derive(Debug, Clone)]
pub struct Tuner(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    enabled: bool,
    interval: Duration,
    knobs: Vec<Knob>,
    rules: Vec<(Rule, Course)>,
    history: History,
}

/// What a cycle did.
#[derive(Debug, Clone, PartialEq)]
pub enum Cycle {
    /// Tuning is switched off.
    Disabled,
    /// Nothing was measured since the cycle before.
    NoMetrics,
    /// It compared every rule, and turned these knobs.
    Completed(Vec<Action>),
}

/// A knob as it is at the time.
#[derive(Debug, Clone, PartialEq)]
pub struct KnobStatus {
    /// Its name.
    pub name: &'static str,
    /// What its value counts.
    pub unit: &'static str,
    /// The value in force.
    pub value: u64,
    /// The value without pressure.
    pub normal: u64,
    /// The least and the greatest value that it can have.
    pub bounds: (u64, u64),
}

/// How far a rule has gone.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleStatus {
    /// The rule.
    pub rule: Rule,
    /// How many steps are in force.
    pub level: usize,
    /// How many there are.
    pub steps: usize,
    /// Below this value it is calm.
    pub calm_below: f64,
    /// Since when it is calm.
    pub calm_since: Option<Timestamp>,
    /// How long calm has to last before a step back.
    pub wait: Duration,
}

/// What the tuner is at, and how much it did.
#[derive(Debug, Clone, PartialEq)]
pub struct TunerStatus {
    /// Whether it turns knobs.
    pub enabled: bool,
    /// How often it looks.
    pub interval: Duration,
    /// Its knobs.
    pub knobs: Vec<KnobStatus>,
    /// Its rules.
    pub rules: Vec<RuleStatus>,
    /// How many cycles there were since the start.
    pub cycles: u64,
    /// How many times a knob was turned since the start.
    pub actions: u64,
    /// How many times one was turned in the last ten cycles.
    pub recent_actions: usize,
}

impl Tuner {
    /// One that looks each `interval`. Of a rule's knobs it has those that are among `knobs`.
    pub fn new(enabled: bool, interval: Duration, knobs: Vec<Knob>, rules: Vec<Rule>) -> Self {
        let course = |rule: Rule| {
            let of_rule = knobs.iter().filter(|knob| rule.knobs.iter().any(|name| name == knob.name));
            let course =
                Course::new(rule.limit, of_rule.map(Knob::steps).max().unwrap_or(0), interval * CALM_INTERVALS);
            (rule, course)
        };
        let rules = rules.into_iter().map(course).collect();
        Self(Arc::new(Mutex::new(State { enabled, interval, knobs, rules, history: History::default() })))
    }

    /// Runs a cycle each interval, until stopped.
    pub async fn run(self, monitor: Monitor, stop: CancellationToken) {
        let interval = self.lock().interval;
        let mut ticks = Ticks::every(interval);
        // The first cycle has an interval to look back on.
        ticks.reset();
        while ticks.next_until(&stop).await {
            self.look(&monitor, Timestamp::now());
        }
    }

    /// Runs a cycle on what was measured since the one before, and in the last interval at most.
    pub fn look(&self, monitor: &Monitor, now: Timestamp) -> Cycle {
        let mut state = self.lock();
        let window = state.history.last().map_or(state.interval, |last| now.since(last).min(state.interval));
        state.cycle(monitor.average(window, now).or_else(|| monitor.current()), now)
    }

    /// Switches it on, or off; off turns all knobs back to normal.
    pub fn set_enabled(&self, enabled: bool, monitor: &Monitor, now: Timestamp) {
        let mut state = self.lock();
        if state.enabled != enabled {
            state.enabled = enabled;
            tracing::info!(enabled, "tuning was switched");
            if !enabled {
                state.reset(monitor.current(), now);
            }
        }
    }

    /// What it is at.
    pub fn status(&self) -> TunerStatus {
        let state = self.lock();
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

    /// The newest cycles of the last thousand, newest first.
    pub fn history(&self, most: usize) -> Vec<Record> {
        self.lock().history.newest(most)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.locked()
    }
}

impl State {
    fn cycle(&mut self, metrics: Option<ResourceMetrics>, now: Timestamp) -> Cycle {
        if !self.enabled {
            return Cycle::Disabled;
        }
        // The same measurement twice is no second reason for a step.
        let Some(metrics) = metrics.filter(|metrics| self.history.last_measured() != Some(metrics.timestamp)) else {
            return Cycle::NoMetrics;
        };
        let reasons: Vec<Option<Reason>> = self
            .rules
            .iter_mut()
            .map(|(rule, course)| {
                let (value, calm_since) = (rule.metric.of(&metrics), course.calm_since());
                let direction = match course.advance(value, now)? {
                    Move::Relieve => Direction::Relieve,
                    Move::StepBack => Direction::StepBack,
                };
                Some(Reason { direction, trigger: trigger(rule, direction, value, calm_since, now) })
            })
            .collect();
        Cycle::Completed(self.turn(&reasons, metrics, now))
    }

    /// Turns all knobs back to normal.
    fn reset(&mut self, metrics: Option<ResourceMetrics>, now: Timestamp) {
        let reason = || Reason { direction: Direction::Reset, trigger: "tuning was switched off".to_owned() };
        let reasons: Vec<_> = self.rules.iter().map(|(_, course)| (course.level() > 0).then(reason)).collect();
        for (_, course) in &mut self.rules {
            course.reset();
        }
        self.turn(&reasons, metrics.unwrap_or_else(|| ResourceMetrics::unknown(now)), now);
    }

    /// Turns each knob to where the rule is that asks for most, and keeps a record; what was done.
    fn turn(&mut self, reasons: &[Option<Reason>], metrics: ResourceMetrics, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        for knob in &self.knobs {
            let of_knob = || {
                let rules = self.rules.iter().zip(reasons);
                rules.filter(|((rule, _), _)| rule.knobs.iter().any(|name| name == knob.name))
            };
            let level = of_knob().map(|((_, course), _)| course.level()).max().unwrap_or(0);
            let Some((before, after)) = knob.turn_to(level) else { continue };
            let Some(((rule, _), reason)) = of_knob().find_map(|(rule, reason)| Some((rule, reason.as_ref()?))) else {
                continue;
            };
            let effect = Effect { metric: rule.metric, before: rule.metric.of(&metrics), after: None, change: None };
            tracing::info!(
                rule = rule.name,
                trigger = reason.trigger,
                knob = knob.name,
                before,
                after,
                "a knob was turned"
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

/// Why a rule moves.
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

impl From<&(Rule, Course)> for RuleStatus {
    fn from((rule, course): &(Rule, Course)) -> Self {
        Self {
            rule: rule.clone(),
            level: course.level(),
            steps: course.steps(),
            calm_below: course.calm_below(),
            calm_since: course.calm_since(),
            wait: course.wait(),
        }
    }
}

#[cfg(test)]
mod tests;
