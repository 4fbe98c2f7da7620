//! Connections to one database, as many as are allowed, and never one in an unknown state.
//!
//! A connection is kept only after a statement on it has ended. One whose statement was given up, because its time was up
//! or its client went away, is closed instead: a server that hangs, or a network that swallows everything, holds no place
//! here, and nothing waits for it. (sqlx's own pool asks every connection that comes back whether it lives, and waits for
//! the answer without end.) When one is found broken, all that lie idle go too, so that a server that is back is not met
//! by the connections to what it was.

use std::time::Duration;

use deadpool::managed::{
    Manager, Metrics, Object, Pool, PoolConfig, PoolError, QueueMode, RecycleError, RecycleResult,
};
use sqlx::PgConnection;

use crate::postgres::Dialer;

/// How long a connection may lie idle: shorter than what firewalls and NAT forget.
const IDLE: Duration = Duration::from_secs(60);
/// How old a connection may get: what the server keeps for it grows with the time.
const LIFETIME: Duration = Duration::from_secs(1800);

/// The connections to a database.
#[derive(Debug)]
pub(super) struct Connections {
    pool: Pool<Dialer>,
}

/// A connection in use; closed when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    /// `None` only while it is dropped.
    object: Option<Object<Dialer>>,
}

impl Manager for Dialer {
    type Type = PgConnection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<PgConnection, sqlx::Error> {
        self.dial().await
    }

    async fn recycle(&self, _: &mut PgConnection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if is_fresh(metrics) { Ok(()) } else { Err(RecycleError::message("it is too old")) }
    }
}

fn is_fresh(metrics: &Metrics) -> bool {
    metrics.last_used() < IDLE && metrics.age() < LIFETIME
}

impl Connections {
    /// `most` at a time. The one used last is used next, so that a quiet time needs few.
    #[expect(clippy::expect_used, reason = "only timeouts need a runtime to be named, and none is set")]
    pub(super) fn new(dialer: Dialer, most: u32) -> Self {
        let config = PoolConfig { queue_mode: QueueMode::Lifo, ..PoolConfig::new(most as usize) };
        Self { pool: Pool::builder(dialer).config(config).build().expect("a pool without timeouts") }
    }

    /// A connection, waiting for a place for as long as the caller cares to.
    pub(super) async fn lease(&self) -> Result<Lease, sqlx::Error> {
        match self.pool.get().await {
            Ok(object) => Ok(Lease { object: Some(object) }),
            Err(PoolError::Backend(error)) => Err(error),
            Err(_) => Err(sqlx::Error::PoolClosed),
        }
    }

    /// Closes what lies idle.
    pub(super) fn forget(&self) {
        let _ = self.pool.retain(|_, _| false);
    }

    /// Closes what has lain idle for long.
    pub(super) fn trim(&self) {
        let _ = self.pool.retain(|_, metrics| is_fresh(&metrics));
    }

    /// Gives nothing out any more.
    pub(super) fn close(&self) {
        self.pool.close();
    }
}

impl Lease {
    pub(super) fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.object.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Keeps the connection for the next one: its statement has ended.
    pub(super) fn give_back(mut self) {
        drop(self.object.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.object.take().map(Object::take));
    }
}
