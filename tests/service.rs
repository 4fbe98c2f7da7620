//! The service as its users meet it: real processes, real HTTP, embedded storage.

mod admission;
mod audit;
mod bad_input;
mod balancing;
mod catalog;
mod command_line;
mod cookies;
mod crashes;
mod documents;
mod fleet;
pub mod harness;
mod lost_shards;
mod names;
mod operator;
mod passwords;
mod postgres_tls;
mod preferences;
mod processes;
mod protocol;
mod real_stores;
mod redis_faults;
mod redis_tls;
mod registration;
mod sessions;
mod throttling;
mod transfer;
mod users;
