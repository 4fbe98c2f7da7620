//! Changes after which no session may go on that the row as it was before has allowed.
//!
//! They are made between the two steps of a revocation. While one is pending the user does not log in: of its change nobody
//! knows whether it was made. Whoever logs in after one has expired makes its change impossible first, and only then reads
//! the row: it was made before that, or it never is.

use std::time::Duration;

use super::{Precondition, User, UserError, UserId, Users, changes, version};
use crate::{
    clock::Timestamp,
    sessions::{Revocation, SessionId},
    shared_store::{LoginStart, PendingRevocation},
    store_error::StoreError,
};

/// How often, and how far apart, a step is tried again that must follow one already taken.
const RETRY_ATTEMPTS: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// What the second step takes at most with all its attempts, the pauses between them, and some time to spare.
const SECOND_STEP: Duration = Duration::from_secs(3);
/// For how many statements of the shard a revocation lasts: the row is read and written, more often if others change it too.
const STATEMENTS: u32 = 4;
/// How often a change is made impossible anew when others change the same user.
const FENCE_ATTEMPTS: u32 = 64;

impl Users {
    /// Applies `edit` as [`Self::edit`] does, and ends all sessions but `keep`.
    pub(super) async fn edit_and_end_sessions(
        &self,
        user_id: UserId,
        keep: Option<SessionId>,
        edit: impl Fn(&mut User) -> Result<(), UserError>,
    ) -> Result<User, UserError> {
        let revocation = self.begin_revocation(user_id, keep).await?;
        let edited = self.edit_row(user_id, &Precondition::None, Some(&revocation), edit).await;
        let changed = self.abandoned_unless_done(&revocation, edited).await?;
        // The change stands: whatever fails from here on is tried again before it is given up.
        self.retry(|| self.sessions.finish_revocation(&revocation)).await?;
        self.sessions.publish(&changed).await?;
        Ok(changed)
    }

    /// Makes the first step, for as long as the change and the second step may take.
    pub(super) async fn begin_revocation(
        &self,
        user_id: UserId,
        keep: Option<SessionId>,
    ) -> Result<Revocation, UserError> {
        let lifetime = self.shards.of_user(user_id)?.statement_timeout() * STATEMENTS + SECOND_STEP;
        Ok(self.sessions.begin_revocation(user_id, keep, lifetime).await?)
    }

    /// Refuses a statement that may not have ended when its revocation expires.
    pub(super) fn check_time_left(&self, revocation: &Revocation, user_id: UserId) -> Result<(), UserError> {
        let enough = revocation.remaining() > self.shards.of_user(user_id)?.statement_timeout();
        if enough { Ok(()) } else { Err(UserError::Contended) }
    }

    /// Gives the revocation up if its change was refused. If a store failed, the change may have been made or not.
    pub(super) async fn abandoned_unless_done<T>(
        &self,
        revocation: &Revocation,
        done: Result<T, UserError>,
    ) -> Result<T, UserError> {
        if let Err(refusal) = &done
            && !matches!(refusal, UserError::Store(error) if !error.is_without_effect())
            && let Err(error) = self.sessions.abandon_revocation(revocation).await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "session revocation not withdrawn; it expires");
        }
        done
    }

    /// Tries an idempotent step a few times, for when the steps before it can't be undone.
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

    /// Whether a login that began so may make its session; if not, it is to start over.
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

    /// Makes statements impossible that were sent, or are about to be, over a version that was read before: an instance that
    /// stood still for long, or a server that does, may have one.
    async fn fence_out_changes(&self, user_id: UserId) -> Result<(), UserError> {
        for attempt in 0..FENCE_ATTEMPTS {
            let store = self.shards.of_user(user_id)?;
            let Some(user) = store.find_user(user_id).await? else { return Ok(()) };
            let raised = version::next(user.version, Timestamp::now());
            if store.raise_version(user_id, user.version, raised).await? {
                return Ok(());
            }
            tokio::time::sleep(changes::pause(attempt)).await;
        }
        Err(UserError::Contended)
    }

    /// Whether a change of this user was begun whose end nobody has seen.
    pub(super) async fn has_unfinished_revocation(&self, user_id: UserId) -> Result<bool, UserError> {
        Ok(self.sessions.begin(user_id).await?.revocation != PendingRevocation::None)
    }
}
