//! Commands and their timing.

use std::time::Duration;

use fred::types::{ClusterHash, CustomCommand, Value};

/// Timeout of a command. fred's default is none.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_millis(200);
/// Pause between two attempts to reconnect.
pub(super) const RECONNECT_INTERVAL: Duration = Duration::from_millis(100);

/// A command with its arguments.
#[derive(Debug, Clone)]
pub(super) struct Command {
    name: &'static str,
    pub(super) arguments: Vec<Value>,
}

impl Command {
    pub(super) fn new<T: Into<Value>>(name: &'static str, arguments: impl IntoIterator<Item = T>) -> Self {
        Self { name, arguments: arguments.into_iter().map(Into::into).collect() }
    }

    /// Creates a command without arguments.
    pub(super) fn bare(name: &'static str) -> Self {
        Self { name, arguments: Vec::new() }
    }

    pub(super) fn custom(&self) -> CustomCommand {
        CustomCommand::new_static(self.name, ClusterHash::Random, false)
    }
}
