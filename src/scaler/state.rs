//! What a decider remembers.

use serde::{Deserialize, Serialize};

use super::demand::Memory;
use crate::clock::Timestamp;

/// What is remembered from one decision to the next; a few kilobytes of JSON at most. It belongs to no policy, so that the
/// policy can change without forgetting. Fields that are missing are as at the beginning.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// When the number of instances was last changed; a cooldown outlives the decider that began it.
    pub last_action_at: Option<Timestamp>,
    /// What the demand was and what it called for.
    pub demand: Memory,
}
