//! Role of the server at the other end of a connection.
//!
//! A connection may reach a replica, because a failover has moved the address or demoted the server. The data of a replica may
//! lag behind an acknowledged write. So no command is sent before the server has confirmed that it is a primary, and the
//! connection to a replica is reopened until the address leads to a primary.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClientLike, EventInterface},
    types::Value,
};
use tokio::sync::{Notify, broadcast::error::RecvError, futures::Notified};

use super::{
    command::{COMMAND_TIMEOUT, Command, RECONNECT_INTERVAL},
    errors::{NO_PRIMARY, is_down},
};

/// Time that a command waits for a primary. Shorter than the command timeout, so that a command that fails here was certainly
/// not sent.
const PRIMARY_TIMEOUT: Duration = COMMAND_TIMEOUT.saturating_sub(Duration::from_millis(50));

/// Whether the server is known to be a primary.
#[derive(Debug, Default)]
pub(super) struct Primary {
    confirmed: AtomicBool,
    changed: Notify,
    stale: Notify,
}

impl Primary {
    /// Waits until the server has confirmed that it is a primary.
    ///
    /// # Errors
    /// Fails with [`NO_PRIMARY`] if it does not in time.
    pub(super) async fn wait(&self) -> Result<(), Error> {
        if self.confirmed.load(Ordering::Acquire) {
            return Ok(());
        }
        // Boxed because few commands wait, and all would be larger otherwise.
        let waited = Box::pin(tokio::time::timeout(PRIMARY_TIMEOUT, async {
            loop {
                let changed = self.next_change();
                if self.confirmed.load(Ordering::Acquire) {
                    return;
                }
                changed.await;
            }
        }));
        waited.await.map_err(|_| Error::new(ErrorKind::Canceled, NO_PRIMARY))
    }

    /// Marks the role as unknown, so that nothing is sent until the server has confirmed it again.
    pub(super) fn mark_stale(&self) {
        self.reset();
        self.stale.notify_one();
    }

    fn reset(&self) {
        self.confirmed.store(false, Ordering::Release);
    }

    /// Returns a future that is notified of changes from now on, even before it is polled.
    fn next_change(&self) -> Notified<'_> {
        self.changed.notified()
    }

    fn confirm(&self) {
        self.confirmed.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }
}

/// Asks the server for its role after each change of the connection. Does not return while the client exists.
pub(super) async fn follow(client: Client, primary: Arc<Primary>) {
    let (mut errors, mut connected) = (client.error_rx(), client.reconnect_rx());
    let (mut is_unknown, mut is_logged) = (true, false);
    loop {
        tokio::select! {
            biased;
            // Any message means that the connection has changed. Messages may be missed or late.
            error = errors.recv() => match error {
                Err(RecvError::Closed) => return,
                _ => {
                    primary.reset();
                    is_unknown = true;
                }
            },
            server = connected.recv() => match server {
                Err(RecvError::Closed) => return,
                _ => {
                    primary.reset();
                    is_unknown = true;
                }
            },
            () = primary.stale.notified() => is_unknown = true,
            is_primary = is_primary(&client), if is_unknown => match is_primary {
                Some(true) => {
                    primary.confirm();
                    is_unknown = false;
                    if is_logged {
                        tracing::info!("connected to a Redis primary again");
                        is_logged = false;
                    }
                }
                Some(false) => {
                    if !is_logged {
                        tracing::warn!("the Redis server is a replica; reconnecting until it is a primary");
                        is_logged = true;
                    }
                    tokio::time::sleep(RECONNECT_INTERVAL).await;
                    if let Err(error) = client.force_reconnection().await {
                        tracing::debug!(%error, "reconnecting to Redis failed");
                    }
                }
                None => tokio::time::sleep(RECONNECT_INTERVAL).await,
            },
        }
    }
}

/// Returns whether the server is a primary, or `None` if it did not answer. A server that does not know `HELLO` counts as a
/// primary: every user may send that command, but not every compatible server implements it.
async fn is_primary(client: &Client) -> Option<bool> {
    let hello = Command::bare("HELLO");
    match client.custom::<Value, Value>(hello.custom(), Vec::new()).await {
        Ok(answer) => {
            let fields: HashMap<String, Value> = answer.convert().unwrap_or_default();
            let role = fields.get("role").and_then(Value::as_string);
            Some(!role.is_some_and(|role| ["replica", "slave"].contains(&role.as_str())))
        }
        Err(error) if is_down(&error) => None,
        Err(_) => Some(true),
    }
}
