//! The composition root: turns settings into a running instance.

mod command;
pub(crate) mod process;
mod run;
mod scaling;
mod stores;
mod tuning;

pub use command::CommandShards;
pub use run::Server;
pub use stores::StartError;
pub(crate) use stores::{Shared, open_shared};
