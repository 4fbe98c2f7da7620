//! Statistics of a gate.

use std::time::Duration;

/// Counters since the start, and the current state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateStats {
    /// The number of requests that arrived.
    pub offered: u64,
    /// The number of requests admitted, at once or after waiting.
    pub admitted: u64,
    /// The number of requests that had to wait.
    pub queued: u64,
    /// The number of requests rejected, at once or after waiting.
    pub rejected: u64,
    /// The number of requests whose client went away while they waited.
    pub abandoned: u64,
    /// The current limit, in requests.
    pub limit: usize,
    /// The number of requests in flight.
    pub in_flight: usize,
    /// The number of waiting requests.
    pub waiting: usize,
    /// The additional latency in the last window, compared with the latency without load.
    pub delay: Duration,
}
