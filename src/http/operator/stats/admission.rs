//! Admission statistics.

use serde::Serialize;
use symbolon_admission::GateStats;

use super::milliseconds;
use crate::admission::AdmissionStats;

/// Admission statistics of an instance. Health checks, API documents and operator requests bypass admission and are not
/// counted. Counters start at zero when the instance starts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AdmissionView {
    /// Whether requests can be rejected.
    enabled: bool,
    /// Requests that hash a password.
    logins: ClassView,
    /// All other requests.
    requests: ClassView,
}

/// Admission statistics of a class of requests.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ClassView {
    /// Requests received.
    #[schema(example = 90211)]
    offered: u64,
    /// Requests admitted, immediately or after queueing.
    #[schema(example = 90100)]
    admitted: u64,
    /// Requests that had to queue.
    #[schema(example = 320)]
    queued: u64,
    /// Requests rejected, immediately or after queueing.
    #[schema(example = 110)]
    shed: u64,
    /// Requests whose client disconnected while they were queued.
    #[schema(example = 0)]
    abandoned: u64,
    /// Current limit of requests in flight; null if there is none.
    #[schema(example = 24)]
    limit: Option<usize>,
    /// Requests in flight.
    #[schema(example = 1)]
    in_flight: usize,
    /// Queued requests.
    #[schema(example = 0)]
    waiting: usize,
    /// Recent latency above the unloaded latency, in milliseconds. If it exceeds the unloaded latency, the limit is lowered.
    #[schema(example = 0.1)]
    delay_milliseconds: f64,
}

impl AdmissionView {
    pub(super) fn new(AdmissionStats { enabled, logins, requests }: AdmissionStats) -> Self {
        let class = |counts: GateStats| ClassView {
            offered: counts.offered,
            admitted: counts.admitted,
            queued: counts.queued,
            shed: counts.rejected,
            abandoned: counts.abandoned,
            limit: enabled.then_some(counts.limit),
            in_flight: counts.in_flight,
            waiting: counts.waiting,
            delay_milliseconds: milliseconds(counts.delay),
        };
        Self { enabled, logins: class(logins), requests: class(requests) }
    }
}
