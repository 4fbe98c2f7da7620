//! Connections to one database, as many as are allowed, and never one in an unknown state.
//!
//! A connection is kept only after a statement on it has ended. One whose statement was given up, because its time was up
//! or its client went away, is closed instead: a server that hangs, or a network that swallows everything, holds no place
//! here, and nothing waits for it. When one is found broken, all that lie idle go too, so that a server that is back is
//! not met by the connections to what it was.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a connection may lie idle: shorter than what firewalls and NAT forget.
const IDLE: Duration = Duration::from_secs(60);
/// How old a connection may get: what the server keeps for it grows with the time.
const LIFETIME: Duration = Duration::from_secs(1800);
/// How long closing may take.
const CLOSING: Duration = Duration::from_secs(1);

/// The connections to a database.
#[derive(Debug)]
pub(super) struct Connections {
    options: PgConnectOptions,
    places: Semaphore,
    /// The one used last is at the back, and used next.
    idle: Mutex<VecDeque<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    made_at: Instant,
    since: Instant,
}

/// A connection in use; closed when dropped.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    pub(super) connection: PgConnection,
    made_at: Instant,
    of: &'a Connections,
    _place: SemaphorePermit<'a>,
}

impl Connections {
    pub(super) fn new(options: PgConnectOptions, most: u32) -> Self {
        Self { options, places: Semaphore::new(most as usize), idle: Mutex::default() }
    }

    /// A connection, waiting for a place for as long as the caller cares to.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, sqlx::Error> {
        let place = self.places.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let (connection, made_at) = match self.take_idle() {
            Some(idle) => (idle.connection, idle.made_at),
            None => (self.options.connect().await?, Instant::now()),
        };
        Ok(Lease { connection, made_at, of: self, _place: place })
    }

    fn take_idle(&self) -> Option<Idle> {
        let mut idle = self.idle();
        idle.pop_back_if(|last| last.since.elapsed() < IDLE)
    }

    /// Closes what lies idle.
    pub(super) fn forget(&self) {
        let idle = std::mem::take(&mut *self.idle());
        drop(idle);
    }

    /// Closes what lies idle in the way the server likes it, and gives nothing out any more.
    pub(super) async fn close(&self) {
        self.places.close();
        let idle = std::mem::take(&mut *self.idle());
        let closing = futures_util::future::join_all(idle.into_iter().map(|idle| idle.connection.close()));
        // A server that is not there learns of it otherwise.
        let _ = tokio::time::timeout(CLOSING, closing).await;
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        // Nothing panics while it holds the lock.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease<'_> {
    /// Keeps the connection for the next one: its statement has ended.
    pub(super) fn give_back(self) {
        let Self { connection, made_at, of, _place } = self;
        let now = Instant::now();
        let mut idle = of.idle();
        if made_at.elapsed() < LIFETIME && !of.places.is_closed() {
            idle.push_back(Idle { connection, made_at, since: now });
        }
        let outdated = idle.iter().take_while(|first| now.duration_since(first.since) >= IDLE).count();
        let outdated: Vec<Idle> = idle.drain(..outdated).collect();
        // Closed without the lock.
        drop((idle, outdated));
    }
}
