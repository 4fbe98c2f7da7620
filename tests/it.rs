//! Integration tests, in one binary, so that the library is linked once.

#![expect(clippy::expect_used, clippy::panic, reason = "in a test a panic is the report")]

mod gateway;
mod hostile;
mod interleavings;
mod layers;
mod service;
mod stores;
mod support;
