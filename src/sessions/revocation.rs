//! Two-step revocation of a user's sessions, once before and once after a change on the user's shard.
//!
//! The revocation is pending in between, and logins create no session. So no session survives that was allowed only by the
//! row before the change, even if the instance fails. See `docs/design/sessions-and-passwords.md`.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{GENERATION_TTL, Sessions};
use crate::model::SessionId;
use crate::{
    clock::Timestamp,
    model::UserId,
    shared_store::{MAX_REVOCATION_LIFETIME, RevocationSelector, RevocationStep},
    store_error::StoreError,
};

/// A revocation after its first step.
#[derive(Debug, Clone)]
pub struct Revocation {
    id: Uuid,
    user_id: UserId,
    keep: Option<SessionId>,
    expires_at: Instant,
}

impl Revocation {
    /// Returns the id of its record in the shared store.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Returns a lower bound of the time left by the store's clock, unless a clock jumps or stops.
    pub fn remaining(&self) -> Duration {
        self.expires_at.saturating_duration_since(Instant::now())
    }
}

impl Sessions {
    /// Ends all sessions of a user except `keep`, and blocks logins until [`Self::finish_revocation`] or for `lifetime`, which
    /// is at most [`MAX_REVOCATION_LIFETIME`].
    ///
    /// # Errors
    /// [`StoreError`] if the store failed. Sessions may have ended, and a revocation may be left that expires.
    pub async fn begin_revocation(
        &self,
        user_id: UserId,
        keep: Option<SessionId>,
        lifetime: Duration,
    ) -> Result<Revocation, StoreError> {
        let lifetime = lifetime.min(MAX_REVOCATION_LIFETIME);
        let revocation = Revocation { id: Uuid::new_v4(), user_id, keep, expires_at: Instant::now() + lifetime };
        let step = RevocationStep::First { id: revocation.id, lifetime };
        self.store.raise_generation(user_id, keep, step, Timestamp::now() + GENERATION_TTL).await?;
        Ok(revocation)
    }

    /// Ends all sessions again, after the change.
    pub async fn finish_revocation(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let (step, keep_until) = (RevocationStep::Second { id: revocation.id }, Timestamp::now() + GENERATION_TTL);
        self.store.raise_generation(revocation.user_id, revocation.keep, step, keep_until).await
    }

    /// Withdraws a revocation whose change certainly was not and will not be made.
    pub async fn abandon_revocation(&self, revocation: &Revocation) -> Result<(), StoreError> {
        self.store.remove_revocations(revocation.user_id, RevocationSelector::One(revocation.id)).await
    }

    /// Removes revocations that had expired at `moment`, after their changes were fenced out.
    pub async fn forget_revocations(&self, user_id: UserId, moment: Timestamp) -> Result<(), StoreError> {
        self.store.remove_revocations(user_id, RevocationSelector::ExpiredBy(moment)).await
    }
}
