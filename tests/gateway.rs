//! The gateway: what it forwards, how it handles failed nodes, and the instances that it runs itself.

mod clients;
mod fleet;
mod framing;
pub mod node;
mod retries;
mod spawned;
