//! The service as its users meet it: real processes, real HTTP, embedded storage.

mod audit;
mod bad_input;
mod catalog;
mod command_line;
mod cookies;
mod documents;
mod harness;
mod names;
mod operator;
mod passwords;
mod preferences;
mod processes;
mod protocol;
mod real_stores;
mod registration;
mod sessions;
mod throttling;
mod transfer;
mod users;
