//! What a decider sees.

use std::time::Duration;

/// How busy one instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connections {
    /// Requests that it has now.
    pub current: u64,
    /// Requests that it may have.
    pub max: u64,
}

/// The fleet at one time. What is not known is none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observation {
    /// How many instances take requests.
    pub ready: u32,
    /// How many were started and don't take any yet.
    pub starting: u32,
    /// How many take no new ones and will end.
    pub draining: u32,
    /// Of each instance that takes requests.
    pub connections: Vec<Connections>,
    /// How many instances the offered requests (those refused included) would keep at their target utilisation, as the
    /// mean since the last observation. None: can't be said.
    pub demand: Option<f64>,
    /// The store that holds the fleet up, where one does: more instances would not help.
    pub bottleneck: Option<String>,
    /// The mean over the instances, in percent.
    pub cpu_percent: Option<f64>,
    /// The mean over the instances, in percent.
    pub memory_percent: Option<f64>,
    /// The mean over the instances that answered something.
    pub response_time: Option<Duration>,
}

impl Observation {
    /// How many instances there are, or soon will be.
    pub fn count(&self) -> u32 {
        self.ready.saturating_add(self.starting)
    }

    /// The part of all places at the instances that is taken; none if there are no places.
    pub fn utilization(&self) -> Option<f64> {
        let sum = |of: fn(&Connections) -> u64| self.connections.iter().map(of).fold(0, u64::saturating_add) as f64;
        let max = sum(|connections| connections.max);
        (max > 0.0).then(|| sum(|connections| connections.current) / max)
    }
}
