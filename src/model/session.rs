//! Sessions as the shared store keeps them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Permissions, Preferences, SessionId, TokenDigest, UserId};
use crate::clock::Timestamp;

/// An idle expiry is written again only once it has moved by this part of the idle timeout.
const SLIDE_FRACTION: u32 = 100;

/// A session as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// Its public id.
    pub session_id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// SHA-256 of the token's secret.
    pub digest: TokenDigest,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends unless it is used before.
    pub idle_expires_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// Where it was made.
    pub client: Client,
}

impl StoredSession {
    /// Whether neither of its ends has come.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.idle_expires_at > now && self.expires_at > now
    }

    /// When it ends unless it is used before, if it is used at `now`; none if that is too little later to be written.
    pub(crate) fn slid(&self, idle: Duration, now: Timestamp) -> Option<Timestamp> {
        let slid = (now + idle).min(self.expires_at);
        (slid.since(self.idle_expires_at) > idle / SLIDE_FRACTION).then_some(slid)
    }
}

/// Where a session was made, for its owner to recognise it by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// The IP address.
    pub address: Option<String>,
    /// What the client called itself.
    pub user_agent: Option<String>,
}

/// What every session of a user shows without asking a shard; kept once a user, at the version of the user's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserSnapshot {
    /// The version of the user's row that it was taken from.
    #[serde(skip)]
    pub version: i64,
    /// The login name.
    pub login_name: String,
    /// What the user may do.
    pub permissions: Permissions,
    /// The preferences document.
    pub preferences: Preferences,
}

/// The counter that all of a user's sessions must agree with; raising it ends them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(pub i64);
