//! Revocations: ending a user's sessions because of a change on its shard, in two steps with the change in between.

use std::time::Duration;

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::model::Generation;

/// Time for which an expired revocation is kept for the next login to find.
pub(super) const EXPIRED_KEPT: Duration = Duration::from_secs(3600);

/// Maximum lifetime of a revocation. One that expires later than that was noted before the store's clock went back, and would
/// keep its user from logging in until then.
pub const MAX_REVOCATION_LIFETIME: Duration = Duration::from_secs(600);

/// Place of a raised generation in a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationStep {
    /// Ends sessions; there is no change on the shard.
    Only,
    /// Before a change on the shard. The revocation is pending until its second step, for `lifetime` by the store's clock.
    First {
        /// Id of the revocation.
        id: Uuid,
        /// Time until it expires.
        lifetime: Duration,
    },
    /// After the change.
    Second {
        /// Id of the revocation; others of the same user stay pending.
        id: Uuid,
    },
}

/// Which revocations of a user to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationSelector {
    /// The one with this id.
    One(Uuid),
    /// Those that had expired at that moment.
    ExpiredBy(Timestamp),
}

/// State of a user's sessions when a login begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginStart {
    /// The generation under which its session may be made; none if the user has none yet.
    pub generation: Option<Generation>,
    /// Whether the user's row may be changed by a revocation under way.
    pub revocation: PendingRevocation,
}

/// Whether a user has revocations that have not come to their second step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingRevocation {
    /// No revocation is noted.
    None,
    /// At least one that has not expired.
    Unexpired {
        /// When the last of them does, from now.
        remaining: Duration,
    },
    /// Only expired ones.
    Expired {
        /// The store's clock.
        as_of: Timestamp,
    },
}

impl PendingRevocation {
    /// With the last expiry of all, at `now`, both by the store's clock.
    pub(super) fn at(now: Timestamp, last_expiry: Option<Timestamp>) -> Self {
        match last_expiry {
            None => Self::None,
            Some(expiry) if expiry > now => Self::Unexpired { remaining: expiry.since(now) },
            Some(_) => Self::Expired { as_of: now },
        }
    }
}
