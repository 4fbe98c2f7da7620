//! What the tests share: fixtures, waiting with one deadline, processes of the service, HTTP clients and private servers.

mod connection;
mod embedded;
mod fixtures;
pub mod fleet;
mod http;
mod http2;
mod log_file;
pub mod process;
pub mod rows;
pub mod servers;
mod service;
pub mod stores;
pub mod trio;
mod wait;

pub use connection::Connection;
pub use embedded::{hold_writers, on_every_shard, sqlite};
pub use fixtures::{
    ABSENT_USER, GENERATED_OPERATOR_TOKEN, NEW_PASSWORD, OPERATOR_TOKEN, PASSWORD, TRUST_LOOPBACK, env_number,
    registration, temporary_directory,
};
pub use fleet::Fleet;
pub use http::{Reply, Request};
pub use http2::Http2;
pub use log_file::LogFile;
pub use process::{run, symbolon};
pub use service::Service;
pub use wait::{DEADLINE, assert_timed_out, block_until, eventually, holds_for, holds_in_time, in_time, until};
