//! What a gate has done, as plain numbers.

use std::time::Duration;

/// What one class' gate has done since the start, and how it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many requests came.
    pub offered: u64,
    /// How many were let in, at once or after waiting.
    pub admitted: u64,
    /// How many had to wait, whatever became of them.
    pub queued: u64,
    /// How many were refused, at once or after waiting.
    pub shed: u64,
    /// How many went away while they waited.
    pub abandoned: u64,
    /// How many may be under way.
    pub limit: usize,
    /// How many are.
    pub in_flight: usize,
    /// How many wait.
    pub waiting: usize,
    /// How much longer than unloaded requests took of late, whatever they needed.
    pub delay: Duration,
}

/// What the admission has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionStats {
    /// Whether anything is refused at all.
    pub enabled: bool,
    /// What hashes a password.
    pub logins: Counts,
    /// Everything else but health, documents and the operators' requests, which always get in.
    pub requests: Counts,
}
