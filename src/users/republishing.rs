//! Repairs what sessions show of a user whose row is newer: the change that made it was not published.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Users;
use crate::model::{User, UserId};

/// Pause after a failed repair before the next one of the same user.
const BACKOFF: Duration = Duration::from_secs(10);
/// Users that share a slot share their pauses, so a lookup costs one atomic read and the memory is bounded.
const SLOTS: usize = 1024;

/// When the next repairs may be tried.
#[derive(Debug, Clone)]
pub(super) struct RepublishBackoff {
    started: Instant,
    /// Milliseconds after `started`, by hash of the user's id.
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
    /// Shows `user` in all its sessions where they show an older version. Does nothing for a while after a failure; the next
    /// reader of the row repeats it.
    pub async fn republish(&self, user: &User) {
        if !self.republish_backoff.may_try(user.user_id, Instant::now()) {
            return;
        }
        if let Err(error) = self.sessions.republish(user).await {
            self.republish_backoff.record_failure(user.user_id, Instant::now());
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, user_id = %user.user_id, "newer user row not published; sessions show an older one");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_that_failed_is_tried_again_after_a_pause_and_others_meanwhile() {
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
