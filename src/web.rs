//! HTTP code shared by instance and gateway: listeners, connections, problems, client addresses and tokens.

pub mod address;
pub mod auth;
mod connections;
pub mod cookie;
pub mod default_headers;
mod listener;
pub mod problem;
pub mod request_id;
pub mod timers;

pub(crate) use connections::{ClientBody, ClientTimeouts, Connections, ListenerRole, SharedBody};
pub(crate) use listener::{HttpService, Listener, ListenerPolicy, SentBody, serve};
pub use problem::{Problem, ProblemKind, TYPE_PREFIX};
