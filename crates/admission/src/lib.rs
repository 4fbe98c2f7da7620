#![doc = include_str!("../README.md")]
//!
//! # Design
//! Everything but [`Gate`] and [`Permit`] is free of I/O and clocks. It is simulated under overload, with slow and stalled
//! backends, by this crate's tests.
#![warn(missing_docs)]

mod bulkheads;
mod clients;
mod gate;
mod latency;
mod limit;
mod permit;
mod queue;
mod state;
mod stats;

use std::{hash::Hash, time::Duration};

pub use bulkheads::Kind;
pub use gate::{Gate, GatePolicy};
use gate::{SharedState, lock};
pub use permit::Permit;
pub use stats::GateStats;

/// The longest time that a request waits for a permit. A request that waits longer would be served too late for its client.
pub const QUEUE_DEADLINE: Duration = Duration::from_millis(50);

/// A key that identifies a client, such as an IP address or a tenant's id. Implemented for all types that qualify.
pub trait ClientKey: Copy + Ord + Hash {}

impl<T: Copy + Ord + Hash> ClientKey for T {}

/// The request was not admitted, as too many are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests are in flight")]
pub struct Rejected;

#[cfg(test)]
mod tests;
