//! Suites that every implementation of a store must pass, and tests of single implementations.

mod health_check;
mod session_reads;
mod shard;
mod shard_batches;
mod shard_timeout;
mod shared;
