//! Ending a user's sessions because of a change on its shard: once before the change and once after it.
//!
//! In between the revocation is pending, and no login makes a session: whatever becomes of the instance, no session is left
//! that the row as it was before has allowed. See `docs/design/sessions-and-passwords.md`.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{LOGIN_TAKES_AT_MOST, Sessions};
use crate::model::SessionId;
use crate::{
    clock::Timestamp,
    model::UserId,
    shared_store::{MAX_REVOCATION_LIFETIME, RevocationSelector, RevocationStep},
    store_error::StoreError,
};

/// A revocation that has made its first step.
#[derive(Debug, Clone)]
pub struct Revocation {
    id: Uuid,
    user_id: UserId,
    keep: Option<SessionId>,
    expires_at: Instant,
}

impl Revocation {
    /// The id of its note in the shared store.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Returns a lower bound of the time left by the store's clock, unless either clock jumps or stands still.
    pub fn remaining(&self) -> Duration {
        self.expires_at.saturating_duration_since(Instant::now())
    }
}

impl Sessions {
    /// Ends all of a user's sessions but `keep`. Until [`Self::finish_revocation`], or for `lifetime`, the user is not to log
    /// in. What fails may have ended sessions, and leaves no more than a revocation that expires. `lifetime` is cut to
    /// [`MAX_REVOCATION_LIFETIME`].
    pub async fn begin_revocation(
        &self,
        user_id: UserId,
        keep: Option<SessionId>,
        lifetime: Duration,
    ) -> Result<Revocation, StoreError> {
        let lifetime = lifetime.min(MAX_REVOCATION_LIFETIME);
        let revocation = Revocation { id: Uuid::new_v4(), user_id, keep, expires_at: Instant::now() + lifetime };
        let step = RevocationStep::First { id: revocation.id, lifetime };
        self.store.raise_generation(user_id, keep, step, Timestamp::now() + LOGIN_TAKES_AT_MOST).await?;
        Ok(revocation)
    }

    /// Ends all sessions again, after the change.
    pub async fn finish_revocation(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let (step, keep_until) = (RevocationStep::Second { id: revocation.id }, Timestamp::now() + LOGIN_TAKES_AT_MOST);
        self.store.raise_generation(revocation.user_id, revocation.keep, step, keep_until).await
    }

    /// Gives up a revocation whose change was certainly not made, and will not be.
    pub async fn abandon_revocation(&self, revocation: &Revocation) -> Result<(), StoreError> {
        self.store.remove_revocations(revocation.user_id, RevocationSelector::One(revocation.id)).await
    }

    /// Forgets revocations that had expired at `moment`, once their changes were fenced out.
    pub async fn forget_revocations(&self, user_id: UserId, moment: Timestamp) -> Result<(), StoreError> {
        self.store.remove_revocations(user_id, RevocationSelector::ExpiredBy(moment)).await
    }
}
