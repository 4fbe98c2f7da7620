//! Whether the server at the other end of a connection takes writes.
//!
//! A connection may reach a replica: behind an address that a failover moves, or because its server was made one. What a
//! replica shows may be behind an acknowledged write, so nothing is sent before the server has said that it is a primary,
//! and one that is not is connected with anew until the address leads elsewhere.

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

use super::connection::{COMMAND_TIMEOUT, Command, RECONNECT_EVERY};

/// What a command fails of that had no primary to be sent to.
pub(super) const NO_PRIMARY: &str = "there is no connection with a primary";

/// How long a command waits for a primary: less than it has, so that it is known not to have been sent.
const PATIENCE: Duration = COMMAND_TIMEOUT.saturating_sub(Duration::from_millis(50));

/// What is known of the server.
#[derive(Debug, Default)]
pub(super) struct Primary {
    confirmed: AtomicBool,
    changed: Notify,
    doubted: Notify,
}

impl Primary {
    /// Waits until the server has said that it takes writes.
    ///
    /// # Errors
    /// [`NO_PRIMARY`] if it does not in time.
    pub(super) async fn confirmed(&self) -> Result<(), Error> {
        if self.confirmed.load(Ordering::Acquire) {
            return Ok(());
        }
        // In a box, as hardly any command waits, and each would carry the room for it.
        let waited = Box::pin(tokio::time::timeout(PATIENCE, async {
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

    /// Sends nothing more until the server has been asked again.
    pub(super) fn doubt(&self) {
        self.forget();
        self.doubted.notify_one();
    }

    /// Returns that the role is unknown from here on.
    fn forget(&self) -> bool {
        self.confirmed.store(false, Ordering::Release);
        true
    }

    /// Notified of what happens from here on, even before it is polled.
    fn next_change(&self) -> Notified<'_> {
        self.changed.notified()
    }

    fn confirm(&self) {
        self.confirmed.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }
}

/// Whether a server refused a write because it is a replica. In a script older versions name another error first.
pub(super) fn is_read_only(error: &Error) -> bool {
    error.details().contains("READONLY")
}

/// Asks the server for its role after each change of the connection, for ever.
pub(super) async fn follow(client: Client, primary: Arc<Primary>) {
    let (mut errors, mut connected) = (client.error_rx(), client.reconnect_rx());
    let (mut unknown, mut reported) = (true, false);
    loop {
        tokio::select! {
            biased;
            // Either says that the connection is not what it was. Messages may have been missed, or be late.
            error = errors.recv() => match error {
                Err(RecvError::Closed) => return,
                _ => unknown = primary.forget(),
            },
            server = connected.recv() => match server {
                Err(RecvError::Closed) => return,
                _ => unknown = primary.forget(),
            },
            () = primary.doubted.notified() => unknown = true,
            is_primary = is_primary(&client), if unknown => match is_primary {
                Some(true) => {
                    primary.confirm();
                    unknown = false;
                    if reported {
                        tracing::info!("Redis is a primary again");
                        reported = false;
                    }
                }
                Some(false) => {
                    if !reported {
                        tracing::warn!("Redis is a replica, which takes no writes; connecting again until it is a primary");
                        reported = true;
                    }
                    tokio::time::sleep(RECONNECT_EVERY).await;
                    if let Err(error) = client.force_reconnection().await {
                        tracing::debug!(%error, "no new connection with Redis yet");
                    }
                }
                None => tokio::time::sleep(RECONNECT_EVERY).await,
            },
        }
    }
}

/// Whether the server is a primary; none if it did not answer. One that does not tell is taken for one: all users may ask, but
/// not every server that speaks the protocol knows the question.
async fn is_primary(client: &Client) -> Option<bool> {
    let hello = Command::bare("HELLO");
    match client.custom::<Value, Value>(hello.custom(), Vec::new()).await {
        Ok(answer) => {
            let fields: HashMap<String, Value> = answer.convert().unwrap_or_default();
            let role = fields.get("role").and_then(Value::as_string);
            Some(!role.is_some_and(|role| ["replica", "slave"].contains(&role.as_str())))
        }
        Err(error) if super::node::is_down(&error) => None,
        Err(_) => Some(true),
    }
}
