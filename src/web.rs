//! What instance and gateway share of HTTP: listeners, connections, problems, and how requests name who calls.

pub mod address;
pub mod auth;
mod connections;
pub mod cookie;
pub mod default_headers;
mod listener;
pub mod problem;
pub mod request_id;
pub mod timers;

pub(crate) use connections::{ClientBody, Connections, Patience, SharedBody, Surface};
pub(crate) use listener::{Listener, ListenerPolicy, SentBody, Served, serve};
pub use problem::{Problem, ProblemKind, TYPE_PREFIX};
