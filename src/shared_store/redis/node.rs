//! A Redis server, or the current primary of a Sentinel service, behind a circuit breaker.
//!
//! `WAIT` blocks the commands behind it on the same connection. Writes that must reach replicas therefore use a second
//! connection with its own circuit breaker, so that a missing replica affects these writes only.

use std::time::{Duration, Instant};

use fred::{
    error::{Error, ErrorKind},
    types::{Value, config::ServerConfig},
};

use super::{
    command::{COMMAND_TIMEOUT, Command},
    connection::{Connection, Connector},
    errors::{CIRCUIT_OPEN, is_down, timed_out},
};
use crate::breaker::{Breaker, Circuit};

/// Time limit of `WAIT`: shorter than that of a command, so that the answer arrives in time.
const WAIT_TIMEOUT: Duration = Duration::from_millis(150);

/// Servers that must have a write before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteConcern {
    /// Only the primary.
    Primary,
    /// Also the configured number of replicas.
    Replicas,
}

#[derive(Debug)]
pub(super) struct Node {
    connection: Connection,
    breaker: Breaker,
    /// `None` if no replicas are configured.
    replicated: Option<ReplicatedConnection>,
}

/// Connection for writes that must reach replicas.
#[derive(Debug)]
struct ReplicatedConnection {
    connection: Connection,
    breaker: Breaker,
    replicas: u32,
}

impl Node {
    /// Opens a server that must be a primary.
    pub(super) fn open_primary(connector: &Connector, server: &ServerConfig, replicas: u32) -> Self {
        Self::with_connections(|| connector.open_primary(server.clone()), replicas)
    }

    /// Opens a node of a Cluster, where a replica redirects to its primary.
    pub(super) fn open(connector: &Connector, server: &ServerConfig, replicas: u32) -> Self {
        Self::with_connections(|| connector.open(server.clone()), replicas)
    }

    fn with_connections(open: impl Fn() -> Connection, replicas: u32) -> Self {
        let replicated =
            (replicas > 0).then(|| ReplicatedConnection { connection: open(), breaker: Breaker::default(), replicas });
        Self { connection: open(), breaker: Breaker::default(), replicated }
    }

    /// Sends a command. `asking` puts `ASKING` before it, for a node that is still importing the slot.
    pub(super) async fn send(
        &self,
        command: Command,
        concern: WriteConcern,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, Error> {
        match (&self.replicated, concern) {
            // Boxed because it is large and rarely used.
            (Some(replicated), WriteConcern::Replicas) => {
                Box::pin(self.write_replicated(replicated, command, asking, deadline)).await
            }
            _ => self.write(command, asking, deadline).await,
        }
    }

    async fn write(&self, command: Command, asking: bool, deadline: Instant) -> Result<Value, Error> {
        if !asking {
            return guarded(&self.breaker, deadline, self.connection.send(command)).await;
        }
        let commands = vec![Command::bare("ASKING"), command];
        // Boxed for the same reason.
        let mut answers = Box::pin(guarded(&self.breaker, deadline, self.connection.send_all(commands))).await?;
        Ok(answers.pop().unwrap_or(Value::Null))
    }

    /// Sends commands to this node in a pipeline, regardless of their keys.
    pub(super) async fn send_all(&self, commands: Vec<Command>) -> Result<Vec<Value>, Error> {
        guarded(&self.breaker, Instant::now() + COMMAND_TIMEOUT, self.connection.send_all(commands)).await
    }

    /// Sends a write and waits until the configured number of replicas have it.
    async fn write_replicated(
        &self,
        replicated: &ReplicatedConnection,
        command: Command,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, Error> {
        let Some(permit) = replicated.breaker.permit(Instant::now()) else {
            // The write fails, but takes effect at the primary without waiting for a replica to return.
            self.write(command, asking, deadline).await?;
            return Err(too_few_replicas(replicated.replicas));
        };
        let wait = Command::new("WAIT", [i64::from(replicated.replicas), WAIT_TIMEOUT.as_millis() as i64]);
        let asking = asking.then(|| Command::bare("ASKING"));
        let commands = asking.into_iter().chain([command, wait]).collect();
        let sent = with_deadline(deadline, replicated.connection.send_all(commands)).await;
        let result = sent.and_then(|mut answers| {
            let reached: u32 = answers.pop().unwrap_or(Value::Null).convert()?;
            if reached < replicated.replicas {
                Err(too_few_replicas(replicated.replicas))
            } else {
                Ok(answers.pop().unwrap_or(Value::Null))
            }
        });
        permit.finish(!result.as_ref().is_err_and(is_down), Instant::now());
        result
    }

    pub(super) fn circuit(&self) -> Circuit {
        self.breaker.circuit(Instant::now())
    }

    pub(super) async fn close(&self) {
        self.connection.close().await;
        if let Some(replicated) = &self.replicated {
            replicated.connection.close().await;
        }
    }
}

fn too_few_replicas(replicas: u32) -> Error {
    Error::new(ErrorKind::Timeout, format!("fewer than {replicas} replicas have the write"))
}

/// Runs `work` if the circuit breaker permits it, and reports the outcome to the breaker.
async fn guarded<T>(
    breaker: &Breaker,
    deadline: Instant,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let open = || Error::new(ErrorKind::Canceled, CIRCUIT_OPEN);
    let begun = Instant::now();
    let permit = breaker.permit(begun).ok_or_else(open)?;
    let result = with_deadline(deadline, work).await;
    let is_available = !result.as_ref().is_err_and(is_down);
    // A timeout after a short remaining time says nothing about the server.
    if is_available || deadline.saturating_duration_since(begun) > COMMAND_TIMEOUT / 2 {
        permit.finish(is_available, Instant::now());
    }
    result
}

/// Runs `work`, which fails at `deadline`.
async fn with_deadline<T>(deadline: Instant, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout_at(deadline.into(), work).await.unwrap_or_else(|_| Err(timed_out()))
}
