//! One Redis server (or whichever is Sentinel's primary) with a breaker in front of it, and the wait for its replicas.
//!
//! `WAIT` holds up whatever comes behind it on its connection, so changes that replicas must have go over a second
//! connection with a breaker of its own: a replica that is missing costs these changes only.

use std::time::{Duration, Instant};

use fred::{
    error::{Error, ErrorKind},
    types::{Value, config::ServerConfig},
};

use super::cluster::SLOT_UNKNOWN;
use super::connection::{COMMAND_TIMEOUT, Command, Connection, Connector};
use super::role::{NO_PRIMARY, is_read_only};
use crate::breaker::{Breaker, Circuit};

/// What a command fails of that the breaker refuses.
const CIRCUIT_OPEN: &str = "the circuit breaker is open";

/// How long replicas have: less than a command, so that an answer still comes in time.
const REPLICAS_HAVE: Duration = Duration::from_millis(150);

/// Whether replicas must have a change before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// The primary is enough.
    Primary,
    /// As many replicas as the settings say must have it too.
    Replicas,
}

#[derive(Debug)]
pub(super) struct Node {
    connection: Connection,
    breaker: Breaker,
    keeper: Option<Keeper>,
}

#[derive(Debug)]
struct Keeper {
    connection: Connection,
    breaker: Breaker,
    replicas: u32,
}

impl Node {
    /// A server that must be a primary.
    pub(super) fn open_primary(connector: &Connector, server: &ServerConfig, replicas: u32) -> Self {
        Self::over(|| connector.open_primary(server.clone()), replicas)
    }

    /// A node of a Cluster, where a replica refers to its primary.
    pub(super) fn open(connector: &Connector, server: &ServerConfig, replicas: u32) -> Self {
        Self::over(|| connector.open(server.clone()), replicas)
    }

    fn over(open: impl Fn() -> Connection, replicas: u32) -> Self {
        let keeper = (replicas > 0).then(|| Keeper { connection: open(), breaker: Breaker::default(), replicas });
        Self { connection: open(), breaker: Breaker::default(), keeper }
    }

    /// Sends a command; after `ASKING` if the node is only about to get its slot.
    pub(super) async fn send(
        &self,
        command: Command,
        care: Care,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, Error> {
        match (&self.keeper, care) {
            // In a box, as it is large, and most commands don't need it.
            (Some(keeper), Care::Replicas) => Box::pin(self.keep(keeper, command, asking, deadline)).await,
            _ => self.write(command, asking, deadline).await,
        }
    }

    async fn write(&self, command: Command, asking: bool, deadline: Instant) -> Result<Value, Error> {
        if !asking {
            return guarded(&self.breaker, deadline, self.connection.send(command)).await;
        }
        let commands = vec![Command::bare("ASKING"), command];
        // In a box for the same reason.
        let mut answers = Box::pin(guarded(&self.breaker, deadline, self.connection.send_all(commands))).await?;
        Ok(answers.pop().unwrap_or(Value::Null))
    }

    /// Sends commands that are for this node whatever keys they name, one behind the other.
    pub(super) async fn ask(&self, commands: Vec<Command>) -> Result<Vec<Value>, Error> {
        guarded(&self.breaker, Instant::now() + COMMAND_TIMEOUT, self.connection.send_all(commands)).await
    }

    /// Sends a command and waits until replicas have what it wrote.
    async fn keep(&self, keeper: &Keeper, command: Command, asking: bool, deadline: Instant) -> Result<Value, Error> {
        let Some(permit) = keeper.breaker.permit(Instant::now()) else {
            // Not acknowledged, but sessions end at the primary without having to wait for a replica to return.
            self.write(command, asking, deadline).await?;
            return Err(too_few(keeper.replicas));
        };
        let wait = Command::new("WAIT", [i64::from(keeper.replicas), REPLICAS_HAVE.as_millis() as i64]);
        let asking = asking.then(|| Command::bare("ASKING"));
        let commands = asking.into_iter().chain([command, wait]).collect();
        let sent = within(deadline, keeper.connection.send_all(commands)).await;
        let result = sent.and_then(|mut answers| {
            let have: u32 = answers.pop().unwrap_or(Value::Null).convert()?;
            if have < keeper.replicas {
                Err(too_few(keeper.replicas))
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
        if let Some(keeper) = &self.keeper {
            keeper.connection.close().await;
        }
    }
}

fn too_few(replicas: u32) -> Error {
    Error::new(ErrorKind::Timeout, format!("fewer than {replicas} replicas have it"))
}

/// Does `work` unless the breaker says that it would be in vain.
async fn guarded<T>(
    breaker: &Breaker,
    deadline: Instant,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let open = || Error::new(ErrorKind::Canceled, CIRCUIT_OPEN);
    let begun = Instant::now();
    let permit = breaker.permit(begun).ok_or_else(open)?;
    let result = within(deadline, work).await;
    let up = !result.as_ref().is_err_and(is_down);
    // That there was no answer in what others had left of their time says nothing.
    if up || deadline.saturating_duration_since(begun) > COMMAND_TIMEOUT / 2 {
        permit.finish(up, Instant::now());
    }
    result
}

/// Does `work` until the deadline.
async fn within<T>(deadline: Instant, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout_at(deadline.into(), work).await.unwrap_or_else(|_| Err(late()))
}

pub(super) fn late() -> Error {
    Error::new(ErrorKind::Timeout, "no answer in time")
}

/// Whether an error says that nothing was sent, or nothing done: the breaker refused it, there is no primary, or no node is
/// known to have its slot.
pub(super) fn is_unsent(error: &Error) -> bool {
    is_read_only(error)
        || (*error.kind() == ErrorKind::Canceled && [CIRCUIT_OPEN, NO_PRIMARY].contains(&error.details()))
        || (*error.kind() == ErrorKind::Cluster && error.details() == SLOT_UNKNOWN)
}

/// Whether an error says that Redis is not there, rather than that it refused a command.
pub(super) fn is_down(error: &Error) -> bool {
    let refers_elsewhere = ["MOVED", "ASK"].iter().any(|word| error.details().starts_with(word));
    let is_unreachable = matches!(
        error.kind(),
        ErrorKind::IO
            | ErrorKind::Timeout
            | ErrorKind::Canceled
            | ErrorKind::Cluster
            | ErrorKind::Sentinel
            | ErrorKind::Backpressure
            | ErrorKind::Tls
    );
    !refers_elsewhere && (is_unreachable || is_read_only(error))
}
