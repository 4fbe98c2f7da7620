//! Changes that end sessions, such as a new password.
//!
//! They are made between the two steps of a revocation. While it is pending, the user cannot log in, because the outcome of
//! the change is unknown. The change replaces a version of the row that was read before the first step. A login that finds
//! an expired revocation raises the row's version before it reads the row, so a change that is not committed by then fails.

use std::time::Duration;

use super::{
    Precondition, UserError, Users,
    changes::{self, ATTEMPTS},
};
use crate::model::{User, UserId, version};
use crate::{
    clock::Timestamp,
    model::SessionId,
    sessions::Revocation,
    shared_store::{LoginStart, PendingRevocation},
    store_error::StoreError,
};

/// Retries of a step whose predecessors can't be undone, and the pause before the first retry.
const RETRY_ATTEMPTS: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Time for the second step with all retries and pauses.
const SECOND_STEP_TIMEOUT: Duration = Duration::from_secs(3);
/// Lifetime of a revocation in statement timeouts of the shard: one for the change, the rest for a slow first step.
const LIFETIME_IN_STATEMENT_TIMEOUTS: u32 = 4;
/// Attempts to raise the version of a row that others change at the same time.
const FENCE_ATTEMPTS: u32 = 64;

impl Users {
    /// Applies `edit` as [`Self::edit`] does, and ends all sessions except `keep`.
    pub(super) async fn edit_and_end_sessions(
        &self,
        user_id: UserId,
        keep: Option<SessionId>,
        edit: impl Fn(&mut User) -> Result<(), UserError>,
    ) -> Result<User, UserError> {
        for attempt in 0..ATTEMPTS {
            let current = self.find(user_id).await?;
            let changed = changes::apply_edit(&current, &Precondition::None, &edit)?;
            let update = async {
                if changed == current {
                    return Ok(true);
                }
                Ok(self.shards.shard_for_user(user_id)?.update_user(&changed, current.version).await?)
            };
            if let Some(revocation) = self.write_under_revocation(user_id, keep, update).await? {
                // The change is committed, so the second step is retried before the request fails.
                self.retry(|| self.sessions.finish_revocation(&revocation)).await?;
                self.sessions.publish(&changed).await?;
                return Ok(changed);
            }
            tokio::time::sleep(changes::backoff(attempt)).await;
        }
        Err(UserError::Contended)
    }

    /// Makes the first step of a revocation and awaits `write`, one conditional statement over a version of the row that
    /// was read before this call. Returns the revocation, to be finished, if the condition held.
    ///
    /// A login that finds this revocation expired raises the row's version, which makes `write` fail. A second attempt over
    /// a version read since would succeed although that login has made a session, so each attempt has a revocation of its
    /// own.
    pub(super) async fn write_under_revocation(
        &self,
        user_id: UserId,
        keep: Option<SessionId>,
        write: impl Future<Output = Result<bool, UserError>>,
    ) -> Result<Option<Revocation>, UserError> {
        let revocation = self.begin_revocation(user_id, keep).await?;
        let written = async {
            self.check_time_left(&revocation, user_id)?;
            write.await
        };
        let written = written.await;
        if self.withdraw_if_refused(&revocation, written).await? {
            return Ok(Some(revocation));
        }
        self.retry(|| self.sessions.abandon_revocation(&revocation)).await?;
        Ok(None)
    }

    /// Makes the first step. The revocation lasts as long as the change and the second step may take.
    async fn begin_revocation(&self, user_id: UserId, keep: Option<SessionId>) -> Result<Revocation, UserError> {
        let lifetime = self.shards.shard_for_user(user_id)?.statement_timeout() * LIFETIME_IN_STATEMENT_TIMEOUTS
            + SECOND_STEP_TIMEOUT;
        Ok(self.sessions.begin_revocation(user_id, keep, lifetime).await?)
    }

    /// Refuses a statement that may outlive its revocation. This saves a useless statement but is no safeguard: the clock of a
    /// suspended machine stands still.
    fn check_time_left(&self, revocation: &Revocation, user_id: UserId) -> Result<(), UserError> {
        let enough = revocation.remaining() > self.shards.shard_for_user(user_id)?.statement_timeout();
        if enough { Ok(()) } else { Err(UserError::Contended) }
    }

    /// Withdraws the revocation if its change was refused. If a store failed, the change may or may not have been made.
    async fn withdraw_if_refused(
        &self,
        revocation: &Revocation,
        written: Result<bool, UserError>,
    ) -> Result<bool, UserError> {
        if let Err(refusal) = &written
            && !matches!(refusal, UserError::Store(error) if !error.is_without_effect())
            && let Err(error) = self.sessions.abandon_revocation(revocation).await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "session revocation not withdrawn; it expires");
        }
        written
    }

    /// Retries an idempotent step a few times, because the steps before it can't be undone.
    pub(super) async fn retry<F: Future<Output = Result<(), StoreError>>>(
        &self,
        step: impl Fn() -> F,
    ) -> Result<(), StoreError> {
        for attempt in 0..RETRY_ATTEMPTS {
            match step().await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "retrying session revocation");
                }
            }
            tokio::time::sleep(RETRY_PAUSE * (attempt + 1)).await;
        }
        step().await
    }

    /// Returns whether a login that began with `start` may make its session; if not, it starts over.
    ///
    /// # Errors
    /// [`UserError::RevocationPending`] until the revocation has ended or expired.
    pub(super) async fn may_log_in(&self, user_id: UserId, start: LoginStart) -> Result<bool, UserError> {
        match start.revocation {
            PendingRevocation::None => Ok(true),
            PendingRevocation::Unexpired { remaining } => Err(UserError::RevocationPending { retry_after: remaining }),
            PendingRevocation::Expired { as_of } => {
                self.fence_out_changes(user_id).await?;
                self.sessions.forget_revocations(user_id, as_of).await?;
                Ok(false)
            }
        }
    }

    /// Raises the row's version, so that statements over an older one fail. A suspended instance or a stalled server may
    /// still have one to execute.
    async fn fence_out_changes(&self, user_id: UserId) -> Result<(), UserError> {
        for attempt in 0..FENCE_ATTEMPTS {
            let store = self.shards.shard_for_user(user_id)?;
            let Some(user) = store.find_user(user_id).await? else { return Ok(()) };
            let raised = version::next(user.version, Timestamp::now());
            if store.raise_version(user_id, user.version, raised).await? {
                return Ok(());
            }
            tokio::time::sleep(changes::backoff(attempt)).await;
        }
        Err(UserError::Contended)
    }

    /// Returns whether a revocation of this user is pending or has expired unfinished.
    pub(super) async fn has_unfinished_revocation(&self, user_id: UserId) -> Result<bool, UserError> {
        Ok(self.sessions.begin(user_id).await?.revocation != PendingRevocation::None)
    }
}
