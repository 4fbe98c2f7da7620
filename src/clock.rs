//! Wall-clock time, by the clock of the shared store.

mod shared;
mod timestamp;

use std::time::Instant;

pub use self::{
    shared::{Reading, SHARED, SharedClock},
    timestamp::Timestamp,
};

impl Timestamp {
    /// Returns the current time of the clock that instances share ([`SHARED`]), or of the system clock before the first
    /// reading of it.
    pub fn now() -> Self {
        SHARED.at(Instant::now()).unwrap_or_else(Self::system_now)
    }
}
