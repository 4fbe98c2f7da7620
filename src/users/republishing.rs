//! Repairs session snapshots that are older than the user's row, because a change was not published.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Users;
use crate::model::{User, UserId};

/// Pause after a failed repair of a user.
const BACKOFF: Duration = Duration::from_secs(10);
/// Users that share a slot share its pause. So a lookup is one atomic read, and memory is bounded.
const SLOTS: usize = 1024;

/// Earliest times of the next repairs.
#[derive(Debug, Clone)]
pub(super) struct RepublishBackoff {
    started: Instant,
    /// In milliseconds after `started`, by the user's id modulo [`SLOTS`].
    not_before: Arc<[AtomicU64]>,
}

impl RepublishBackoff {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), not_before: (0..SLOTS).map(|_| AtomicU64::new(0)).collect() }
    }

    fn slot(&self, user_id: UserId) -> &AtomicU64 {
        // The last bytes of an id are random.
        let slot = user_id.uuid().as_u128() % self.not_before.len() as u128;
        &self.not_before[slot as usize]
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    fn may_try(&self, user_id: UserId, now: Instant) -> bool {
        self.millis(now) >= self.slot(user_id).load(Ordering::Relaxed)
    }

    fn record_failure(&self, user_id: UserId, now: Instant) {
        self.slot(user_id).store(self.millis(now + BACKOFF), Ordering::Relaxed);
    }
}

impl Users {
    /// Replaces the session snapshot of `user` if it is older. Does nothing for `BACKOFF` after a failure; a later reader of
    /// the row tries again.
    pub async fn republish(&self, user: &User) {
        if !self.republish_backoff.may_try(user.user_id, Instant::now()) {
            return;
        }
        if let Err(error) = self.sessions.republish(user).await {
            self.republish_backoff.record_failure(user.user_id, Instant::now());
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, user_id = %user.user_id, "user snapshot not published; sessions show an older version");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_repair_pauses_only_the_same_user() {
        let backoff = RepublishBackoff::new();
        let id = |last: u8| UserId::from_bytes([[0; 15].as_slice(), &[last]].concat().try_into().expect("16 bytes"));
        let (failed, other) = (id(1), id(2));
        let now = Instant::now();
        assert!(backoff.may_try(failed, now));
        backoff.record_failure(failed, now);
        assert!(!backoff.may_try(failed, now) && backoff.may_try(other, now));
        assert!(!backoff.may_try(failed, now + BACKOFF - Duration::from_millis(1)));
        assert!(backoff.may_try(failed, now + BACKOFF));
    }
}
