//! Users: registered, let in, changed and removed, on whichever shards they live.
//!
//! Everything here holds across crashes at any line: see `names` for login names, `changes` for rows and sessions.

mod authentication;
mod changes;
mod error;
mod lookup;
mod names;
mod registration;
mod republishing;
mod reset;
mod revocation;
pub mod rules;
pub mod transfer;

use std::sync::Arc;

pub use authentication::Issued;
pub use changes::{Precondition, UserChange};
pub use error::UserError;
pub use registration::Registration;
pub use reset::RESET_LIFETIME;
pub use rules::Rules;

use self::republishing::RepublishBackoff;
use crate::{passwords::Passwords, sessions::Sessions, shards::Shards, throttle::Throttle};

/// What can be done with users.
#[derive(Debug, Clone)]
pub struct Users {
    shards: Shards,
    sessions: Sessions,
    passwords: Arc<Passwords>,
    throttle: Throttle,
    republish_backoff: RepublishBackoff,
}

impl Users {
    /// Users on `shards`.
    pub fn new(shards: Shards, sessions: Sessions, passwords: Arc<Passwords>, throttle: Throttle) -> Self {
        Self { shards, sessions, passwords, throttle, republish_backoff: RepublishBackoff::new() }
    }
}
