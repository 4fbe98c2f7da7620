//! The service as its users meet it: real processes, real HTTP, embedded storage.

#![expect(clippy::expect_used, clippy::panic, reason = "in a test a panic is the report")]

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
mod registration;
mod sessions;
mod users;
