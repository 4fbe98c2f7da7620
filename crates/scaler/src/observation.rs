//! Measurements of a fleet.

use std::time::Duration;

/// The requests of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connections {
    /// The number of requests in flight.
    pub current: u64,
    /// The maximum number of requests in flight.
    pub max: u64,
}

/// A fleet at one time. Unknown values are none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observation {
    /// The number of ready instances.
    pub ready: u32,
    /// The number of instances that are starting.
    pub starting: u32,
    /// The number of draining instances.
    pub draining: u32,
    /// The connections of each ready instance.
    pub connections: Vec<Connections>,
    /// The number of instances that the offered requests, including rejected ones, would keep at their target utilization. The
    /// mean since the last observation; not rounded.
    pub demand: Option<f64>,
    /// The name of the store that limits the fleet, if one does. More instances would not help.
    pub bottleneck: Option<String>,
    /// The mean processor use of the instances, in percent.
    pub cpu_percent: Option<f64>,
    /// The mean memory use of the instances, in percent.
    pub memory_percent: Option<f64>,
    /// The mean response time of the instances that answered requests.
    pub response_time: Option<Duration>,
}

impl Observation {
    /// Returns the number of ready and starting instances.
    pub fn count(&self) -> u32 {
        self.ready.saturating_add(self.starting)
    }

    /// Returns the used share of all connections; none if there are none.
    pub fn utilization(&self) -> Option<f64> {
        let sum = |of: fn(&Connections) -> u64| self.connections.iter().map(of).fold(0, u64::saturating_add) as f64;
        let max = sum(|connections| connections.max);
        (max > 0.0).then(|| sum(|connections| connections.current) / max)
    }
}
