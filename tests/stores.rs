//! What every implementation of a store must do: one suite, run against each of them; and what concerns only one of them.

mod health_check;
mod session_reads;
mod shard;
mod shard_batches;
mod shard_timeout;
mod shared;
