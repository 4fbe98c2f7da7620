//! Revocations: ending a user's sessions because of a change on the user's shard, in two steps with the change in between.

use std::time::Duration;

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::model::Generation;

/// Time for which an expired revocation is kept for the next login to find.
pub(super) const EXPIRED_RETENTION: Duration = Duration::from_secs(3600);

/// Maximum lifetime of a revocation. One that expires later was recorded before the store's clock was set back, and would
/// block logins of its user until then.
pub const MAX_REVOCATION_LIFETIME: Duration = Duration::from_secs(600);

/// Step of a revocation that raises the generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationStep {
    /// The only step: sessions end without a change on the shard.
    Only,
    /// Step before the change on the shard. The revocation is pending until its second step, at most for `lifetime` by the
    /// store's clock.
    First { id: Uuid, lifetime: Duration },
    /// Step after the change on the shard.
    Second {
        /// Id of the revocation; others of the same user remain pending.
        id: Uuid,
    },
}

/// Which revocations of a user to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationSelector {
    /// The one with this id.
    One(Uuid),
    /// Those that expired at that time or before.
    ExpiredBy(Timestamp),
}

/// State of a user's sessions when a login begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginStart {
    /// Generation under which a session may be created; `None` if the user has none yet.
    pub generation: Option<Generation>,
    /// Whether a revocation in progress may change the user's row.
    pub revocation: PendingRevocation,
}

/// Revocations of a user that have not reached their second step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingRevocation {
    /// There is none.
    None,
    /// At least one has not expired.
    Unexpired {
        /// Time until the last of them expires.
        remaining: Duration,
    },
    /// All have expired.
    Expired {
        /// Time by the store's clock.
        as_of: Timestamp,
    },
}

impl PendingRevocation {
    /// Classifies the last expiry of a user's revocations at `now`, both by the store's clock.
    pub(super) fn at(now: Timestamp, last_expiry: Option<Timestamp>) -> Self {
        match last_expiry {
            None => Self::None,
            Some(expiry) if expiry > now => Self::Unexpired { remaining: expiry.since(now) },
            Some(_) => Self::Expired { as_of: now },
        }
    }
}
