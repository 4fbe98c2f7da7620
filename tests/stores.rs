//! What every implementation of a store must do: one suite, run against each of them.

mod shard;
mod shared;
