//! The gateway: what it passes on and what not, what it does when nodes fail, and the fleet that it runs itself.

mod clients;
mod fleet;
mod framing;
mod raw;
mod retries;
mod spawned;
