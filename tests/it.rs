//! Integration tests, in one binary: it links once, and nothing of what they share is written twice.

#![expect(clippy::expect_used, clippy::panic, reason = "in a test a panic is the report")]

mod gateway;
mod hostile;
mod interleavings;
mod layers;
mod servers;
mod service;
mod stores;
