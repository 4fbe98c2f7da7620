//! Registration, login, changes and deletion of users across shards.
//!
//! All invariants hold after a crash at any point. See `names` for login names, and `changes` for rows and sessions.

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

pub use authentication::IssuedSession;
pub use changes::{Precondition, UserChange};
pub use error::UserError;
pub use registration::Registration;
pub use reset::RESET_LIFETIME;
pub use rules::Validator;

use self::republishing::RepublishBackoff;
use crate::{passwords::Passwords, sessions::Sessions, shards::Shards, throttle::Throttle};

#[derive(Debug, Clone)]
pub struct Users {
    shards: Shards,
    sessions: Sessions,
    passwords: Arc<Passwords>,
    throttle: Throttle,
    republish_backoff: RepublishBackoff,
}

impl Users {
    pub fn new(shards: Shards, sessions: Sessions, passwords: Arc<Passwords>, throttle: Throttle) -> Self {
        Self { shards, sessions, passwords, throttle, republish_backoff: RepublishBackoff::new() }
    }
}
