//! What came of a run.

use serde::Serialize;

use super::{Arrivals, Contender, ContenderName, Settings, least::least_node_seconds};

/// Within how many seconds a change in the other direction is a reversal.
const REVERSAL_SECONDS: usize = 600;

/// What came of a contender.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Report {
    /// The contender.
    pub policy: ContenderName,
    /// Which part of an instance's capacity it aims at.
    pub target: f64,
    /// From start to service.
    pub startup_delay_seconds: u64,
    /// How old what it saw was.
    pub metric_lag_seconds: u64,
    /// How long the run was.
    pub seconds: u64,
    /// Seconds in which more arrived than the ready instances could serve.
    pub violation_seconds: u64,
    /// Instances, starting ones included, summed over the seconds.
    pub node_seconds: u64,
    /// The least of them without a violation, by whoever knows the future and pays for start-up too.
    pub least_node_seconds: u64,
    /// How often the number of instances changed.
    pub changes: u64,
    /// Changes in the other direction than the one before, within ten minutes of it.
    pub reversals: u64,
    /// Which part of the requests was refused.
    pub shed_share: f64,
    /// How many requests there were.
    pub requests: u64,
}

/// What is counted while a run goes on.
#[derive(Debug, Default)]
pub(super) struct Tally {
    violation_seconds: u64,
    node_seconds: u64,
    changes: u64,
    reversals: u64,
    shed: f64,
    /// When the number changed last, and whether it grew.
    last_change: Option<(usize, bool)>,
}

impl Tally {
    pub fn changed(&mut self, now: usize, from: u32, to: u32) {
        if from == to {
            return;
        }
        let grew = to > from;
        self.changes += 1;
        let back = self.last_change.is_some_and(|(at, before)| before != grew && now - at <= REVERSAL_SECONDS);
        self.reversals += u64::from(back);
        self.last_change = Some((now, grew));
    }

    pub fn second(&mut self, arrived: u64, ready: u32, count: u32, capacity: f64) {
        let beyond = arrived as f64 - f64::from(ready) * capacity;
        if beyond > 0.0 {
            self.violation_seconds += 1;
            self.shed += beyond;
        }
        self.node_seconds += u64::from(count);
    }

    pub fn report(self, contender: &Contender, arrivals: &Arrivals, settings: &Settings) -> Report {
        Report {
            policy: contender.name(),
            target: contender.target(),
            startup_delay_seconds: settings.startup_delay.as_secs(),
            metric_lag_seconds: settings.metric_lag.as_secs(),
            seconds: arrivals.seconds() as u64,
            violation_seconds: self.violation_seconds,
            node_seconds: self.node_seconds,
            least_node_seconds: least_node_seconds(arrivals, settings),
            changes: self.changes,
            reversals: self.reversals,
            shed_share: self.shed / (arrivals.total().max(1)) as f64,
            requests: arrivals.total(),
        }
    }
}

impl Report {
    /// Node-seconds relative to the least.
    pub fn over_least(&self) -> f64 {
        self.node_seconds as f64 / self.least_node_seconds.max(1) as f64
    }
}
