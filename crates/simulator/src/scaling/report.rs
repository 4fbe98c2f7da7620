//! The report of a run.

use serde::Serialize;

use super::{Arrivals, Contender, ContenderName, Settings, minimum::min_node_seconds};

/// A change in the other direction within this time is a reversal.
const REVERSAL_SECONDS: usize = 600;

/// The totals of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Report {
    /// The contender.
    pub policy: ContenderName,
    /// The target utilization of an instance.
    pub target: f64,
    /// The start-up delay, in seconds.
    pub startup_delay_seconds: u64,
    /// The metric lag, in seconds.
    pub metric_lag_seconds: u64,
    /// The duration of the run, in seconds.
    pub seconds: u64,
    /// The number of seconds in which more requests arrived than the ready instances could serve.
    pub violation_seconds: u64,
    /// The sum of instances over the seconds, including starting ones.
    pub node_seconds: u64,
    /// The minimum of node-seconds without violations, with full knowledge of the future.
    #[serde(rename = "least_node_seconds")]
    pub min_node_seconds: u64,
    /// The number of changes of the number of instances.
    pub changes: u64,
    /// The number of changes in the other direction within ten minutes.
    pub reversals: u64,
    /// The share of requests that were rejected, 0 to 1.
    pub shed_share: f64,
    /// The number of requests.
    pub requests: u64,
}

/// The running totals.
#[derive(Debug, Default)]
pub(super) struct Tally {
    violation_seconds: u64,
    node_seconds: u64,
    changes: u64,
    reversals: u64,
    shed: f64,
    /// Time of the last change, and whether it added instances.
    last_change: Option<(usize, bool)>,
}

impl Tally {
    pub fn record_change(&mut self, now: usize, from: u32, to: u32) {
        if from == to {
            return;
        }
        let grew = to > from;
        self.changes += 1;
        let back = self.last_change.is_some_and(|(at, before)| before != grew && now - at <= REVERSAL_SECONDS);
        self.reversals += u64::from(back);
        self.last_change = Some((now, grew));
    }

    pub fn record_second(&mut self, arrived: u64, ready: u32, count: u32, capacity: f64) {
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
            min_node_seconds: min_node_seconds(arrivals, settings),
            changes: self.changes,
            reversals: self.reversals,
            shed_share: self.shed / (arrivals.total().max(1)) as f64,
            requests: arrivals.total(),
        }
    }
}

impl Report {
    /// Returns node-seconds relative to the minimum.
    pub fn over_minimum(&self) -> f64 {
        self.node_seconds as f64 / self.min_node_seconds.max(1) as f64
    }
}
