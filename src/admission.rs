//! How much this instance takes on at a time.
//!
//! Two classes have a gate each ([`symbolon_admission`]), so that neither crowds out the other: logins (whatever hashes a
//! password) and all other requests. Health, documents and the operators' endpoints pass no gate.

use std::time::Duration;

use symbolon_admission::{Gate, GatePolicy, GateStats, Kind, Rejected};

use crate::model::Network;

/// What is worked off in this time is never worth refusing anybody for, nor having them wait for a place.
const NEGLIGIBLE: Duration = Duration::from_millis(8);

/// How many requests a new instance lets in, which does not know yet what they take: what comes first is not refused. Of
/// logins never fewer, so that those that come at once may wait for the hashing pool.
const START: f64 = 128.0;

/// Leave to be under way; clones share one place.
pub type Permit = symbolon_admission::Permit<Network>;

/// How many requests the instance may take on.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionPolicy {
    /// Whether it refuses any.
    pub enabled: bool,
    /// Lower bound of the limit, in requests.
    pub min: u32,
    /// Upper bound of the limit, in requests.
    pub max: u32,
    /// How long a login may wait for its password to be hashed.
    pub hash_deadline: Duration,
}

/// What a request is to the admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It hashes a password.
    Login,
    /// Anything else.
    Request,
}

/// What the admission has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionStats {
    /// Whether anything is refused at all.
    pub enabled: bool,
    /// What hashes a password.
    pub logins: GateStats,
    /// Everything else but health, documents and the operators' requests, which always get in.
    pub requests: GateStats,
}

/// The admission of an instance; clones share it.
#[derive(Debug, Clone)]
pub struct Admission {
    enabled: bool,
    logins: Gate<Network>,
    requests: Gate<Network>,
}

impl Admission {
    /// The gates, open as `policy` has it. Logins start with all there is: what bounds them is the hashing pool, and it says
    /// so. All others start with as many as most machines serve in good time.
    pub fn new(policy: AdmissionPolicy) -> Self {
        let (logins, requests) = if policy.enabled {
            let bounds = GatePolicy::new(policy.min, policy.max);
            let start = START.clamp(bounds.min, bounds.max);
            let patience = policy.hash_deadline / 2;
            (
                GatePolicy { initial: bounds.max, min: start, patience, ..bounds },
                GatePolicy { initial: start, negligible: NEGLIGIBLE, ..bounds },
            )
        } else {
            (GatePolicy::unlimited(), GatePolicy::unlimited())
        };
        Self { enabled: policy.enabled, logins: Gate::new(logins), requests: Gate::new(requests) }
    }

    /// Lets a request in that needs `shard`, if it needs any; at once, or within the queue's deadline. Dropping the future
    /// leaves the queue.
    ///
    /// # Errors
    /// [`Rejected`] if there are too many.
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
            tracing::warn!(
                ?class,
                limit,
                ?delay,
                offered,
                shed = rejected,
                "requests are refused, as too many are under way"
            );
        }
        admitted
    }

    /// What was let in and what was not.
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
