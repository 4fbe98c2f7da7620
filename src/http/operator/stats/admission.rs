//! What the admission let in, as operators see it.

use serde::Serialize;
use symbolon_admission::GateStats;

use super::milliseconds;
use crate::admission::AdmissionStats;

/// Which requests an instance took on. Health, documents and operators' requests are not among them: they always get in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AdmissionView {
    /// Whether any are refused.
    enabled: bool,
    /// Those that hash a password.
    logins: ClassView,
    /// All others.
    requests: ClassView,
}

/// Which requests of a class an instance took on.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ClassView {
    /// How many came since the start.
    #[schema(example = 90211)]
    offered: u64,
    /// How many were let in since the start, at once or after waiting.
    #[schema(example = 90100)]
    admitted: u64,
    /// How many had to wait since the start.
    #[schema(example = 320)]
    queued: u64,
    /// How many were refused since the start, at once or after waiting.
    #[schema(example = 110)]
    shed: u64,
    /// How many went away while they waited, since the start.
    #[schema(example = 0)]
    abandoned: u64,
    /// How many may be under way at a time; none if that is not limited.
    #[schema(example = 24)]
    limit: Option<usize>,
    /// How many are under way.
    #[schema(example = 1)]
    in_flight: usize,
    /// How many wait.
    #[schema(example = 0)]
    waiting: usize,
    /// How much longer than unloaded requests took of late, in milliseconds; more than they take unloaded lowers the limit.
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
