//! Admission control: limits how many requests are in progress on this instance.
//!
//! Logins (all requests that hash a password) and all other requests have one gate each ([`symbolon_admission`]), so that
//! neither class crowds out the other. Health, documents and operator endpoints are not limited.

use std::time::Duration;

use symbolon_admission::{Gate, GatePolicy, GateStats, Kind, Rejected};

use crate::model::Network;

/// The limit does not fall below the number of requests served in this time: queueing them would cost more than it saves.
const NEGLIGIBLE_DELAY: Duration = Duration::from_millis(8);

/// Concurrency limit of a new instance, which has measured no delays yet. It is also the lower bound for logins, so that
/// simultaneous logins can wait for the hashing pool.
const INITIAL_LIMIT: f64 = 128.0;

/// Permission to be in progress. Clones share one place; dropping the last one frees it.
pub type Permit = symbolon_admission::Permit<Network>;

#[derive(Debug, Clone, Copy)]
pub struct AdmissionPolicy {
    /// False admits everything, and still counts.
    pub enabled: bool,
    /// Lower bound of the concurrency limit.
    pub min: u32,
    /// Upper bound of the concurrency limit.
    pub max: u32,
    /// How long a login may wait for its password to be hashed.
    pub hash_deadline: Duration,
}

/// The class of a request. Each has its own gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A request that hashes a password.
    Login,
    Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionStats {
    pub enabled: bool,
    pub logins: GateStats,
    pub requests: GateStats,
}

/// The admission control of an instance. Clones share its state.
#[derive(Debug, Clone)]
pub struct Admission {
    enabled: bool,
    logins: Gate<Network>,
    requests: Gate<Network>,
}

impl Admission {
    /// Creates the gates. Logins start at the upper bound, because the hashing pool limits them. Other requests start at
    /// `INITIAL_LIMIT`, which most machines serve without delay.
    pub fn new(policy: AdmissionPolicy) -> Self {
        let (logins, requests) = if policy.enabled {
            let bounds = GatePolicy::new(policy.min, policy.max);
            let start = INITIAL_LIMIT.clamp(bounds.min, bounds.max);
            let patience = policy.hash_deadline / 2;
            (
                GatePolicy { initial: bounds.max, min: start, patience, ..bounds },
                GatePolicy { initial: start, negligible: NEGLIGIBLE_DELAY, ..bounds },
            )
        } else {
            (GatePolicy::unlimited(), GatePolicy::unlimited())
        };
        Self { enabled: policy.enabled, logins: Gate::new(logins), requests: Gate::new(requests) }
    }

    /// Admits a request at once, or within the deadline of the queue. `shard` is the one that it needs, if any. Dropping the
    /// future leaves the queue.
    ///
    /// # Errors
    /// Returns [`Rejected`] if too many requests are in progress or queued.
    pub async fn admit(
        &self,
        class: Class,
        shard: Option<&str>,
        kind: Kind,
        client: Network,
    ) -> Result<Permit, Rejected> {
        let gate = match class {
            Class::Login => &self.logins,
            Class::Request => &self.requests,
        };
        let admitted = gate.admit(shard, kind, client).await;
        if admitted.is_err()
            && let Some(GateStats { limit, delay, offered, rejected, .. }) = gate.rejection_report()
        {
            tracing::warn!(?class, limit, ?delay, offered, shed = rejected, "overloaded; refusing requests");
        }
        admitted
    }

    pub fn stats(&self) -> AdmissionStats {
        AdmissionStats { enabled: self.enabled, logins: self.logins.stats(), requests: self.requests.stats() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(enabled: bool) -> Admission {
        Admission::new(AdmissionPolicy { enabled, min: 1, max: 1, hash_deadline: Duration::from_secs(2) })
    }

    async fn admit(admission: &Admission, class: Class) -> Result<Permit, Rejected> {
        admission.admit(class, None, Kind::Change, Network::Unknown).await
    }

    #[tokio::test]
    async fn classes_have_separate_limits() {
        let admission = admission(true);
        let _login = admit(&admission, Class::Login).await.expect("a permit");
        let _request = admit(&admission, Class::Request).await.expect("a permit");
        assert!(admit(&admission, Class::Login).await.is_err());
    }

    #[tokio::test]
    async fn a_disabled_limit_admits_and_counts_everything() {
        let admission = admission(false);
        let mut permits = Vec::new();
        for _ in 0..10_000 {
            permits.push(admit(&admission, Class::Request).await.expect("a permit"));
        }
        assert_eq!((admission.stats().requests.admitted, admission.stats().requests.in_flight), (10_000, 10_000));
    }
}
