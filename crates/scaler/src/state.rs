//! State between decisions.

use serde::{Deserialize, Serialize};

use super::demand::Memory;
use crate::Timestamp;

/// The state from one decision to the next; a few kilobytes of JSON at most. It is shared by all policies, so that it survives a
/// change of the policy. Missing fields have their initial values.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Time of the last change of the number of instances.
    pub last_action_at: Option<Timestamp>,
    /// State of the demand policy.
    pub demand: Memory,
}
