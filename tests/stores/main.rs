//! What every implementation of a store must do: one suite, run against each of them.

#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

#[path = "../harness/mod.rs"]
mod harness;
mod shard;
mod shared;
