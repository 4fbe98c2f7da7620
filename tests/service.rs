//! The service as its users meet it: real processes, real HTTP, embedded storage.

mod bad_input;
mod command_line;
mod documents;
mod harness;
mod names;
mod operator;
mod passwords;
mod preferences;
mod processes;
mod protocol;
mod real_stores;
mod redis_faults;
mod redis_tls;
mod registration;
mod sessions;
mod users;
