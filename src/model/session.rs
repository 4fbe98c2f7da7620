//! Sessions in the shared store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Permissions, Preferences, SessionId, TokenDigest, UserId};
use crate::clock::Timestamp;

/// The idle expiry is rewritten only after it has moved by more than this fraction of the idle timeout: 1/100.
const SLIDE_FRACTION: u32 = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    pub session_id: SessionId,
    pub user_id: UserId,
    /// SHA-256 of the token's secret.
    pub digest: TokenDigest,
    pub created_at: Timestamp,
    /// When it ends unless it is used.
    pub idle_expires_at: Timestamp,
    /// When it ends in any case.
    pub expires_at: Timestamp,
    pub client: Client,
}

impl StoredSession {
    /// Returns whether neither expiry has passed.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.idle_expires_at > now && self.expires_at > now
    }

    /// Returns the idle expiry after a use at `now`, or `None` if it moved too little to be worth a write.
    pub(crate) fn extended_idle_expiry(&self, idle: Duration, now: Timestamp) -> Option<Timestamp> {
        let extended = (now + idle).min(self.expires_at);
        (extended.since(self.idle_expires_at) > idle / SLIDE_FRACTION).then_some(extended)
    }
}

/// The client that logged in, for the user to recognise a session by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    pub address: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
}

/// The part of a user that session checks return without asking a shard. It is kept once for each user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserSnapshot {
    /// Version of the user's row that it was taken from.
    #[serde(skip)]
    pub version: i64,
    pub login_name: String,
    pub permissions: Permissions,
    pub preferences: Preferences,
}

/// A counter for each user. Raising it ends all sessions made under a lower value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(pub i64);
