//! Symbolon: login, sessions and preferences on sharded storage.
//!
//! `ARCHITECTURE.md` describes the modules. Data flows down: `cli` → `server`, `gateway` → `http` → `app` → `users`,
//! `sessions` → stores → `model`. No module imports from a layer above it.

pub mod admission;
pub mod app;
pub mod audit;
pub mod breaker;
pub mod cli;
pub mod clock;
pub mod compaction;
pub mod config;
mod descriptors;
pub mod fleet;
pub mod gateway;
pub mod health_check;
pub mod http;
pub mod json;
pub mod load;
pub mod log;
pub mod metrics;
pub mod migrations;
pub mod model;
pub mod monitor;
pub mod passwords;
mod postgres;
pub mod reaper;
pub mod secret;
pub mod server;
pub mod sessions;
pub mod shards;
pub mod shared_store;
pub mod sqlite;
pub mod store_error;
pub(crate) mod supervisor;
mod sync;
pub mod throttle;
pub(crate) mod ticks;
pub mod topology;
pub mod tuner;
pub mod users;
pub mod web;
