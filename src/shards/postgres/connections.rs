//! Connection pool of one database. No connection in it is in an unknown state.
//!
//! A connection is returned to the pool only after its statement has ended. If the statement timed out or was cancelled, the
//! connection is closed, so a server that hangs or a network that drops packets does not occupy the pool. (sqlx's own pool
//! pings every returned connection and waits for the answer without a timeout.) When a connection is found broken, all idle
//! ones are closed too, so that requests after a restart of the server do not use connections from before it.

use std::time::Duration;

use deadpool::managed::{
    Manager, Metrics, Object, Pool, PoolConfig, PoolError, QueueMode, RecycleError, RecycleResult,
};
use sqlx::PgConnection;

use crate::postgres::Dialer;

/// Maximum idle time of a connection: shorter than the idle timeouts of firewalls and NAT.
const MAX_IDLE: Duration = Duration::from_secs(60);
/// Maximum age of a connection, because the server's memory for it grows over time.
const MAX_AGE: Duration = Duration::from_secs(1800);

/// Connection pool of a database.
#[derive(Debug)]
pub(super) struct Connections {
    pool: Pool<Dialer>,
}

/// A connection in use. Dropping it closes the connection; [`Self::give_back`] returns it to the pool.
#[derive(Debug)]
pub(super) struct Lease {
    /// `None` only after [`Self::give_back`] and while it is dropped.
    object: Option<Object<Dialer>>,
}

impl Manager for Dialer {
    type Type = PgConnection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<PgConnection, sqlx::Error> {
        self.dial().await
    }

    async fn recycle(&self, _: &mut PgConnection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if is_fresh(metrics) { Ok(()) } else { Err(RecycleError::message("the connection is too old")) }
    }
}

fn is_fresh(metrics: &Metrics) -> bool {
    metrics.last_used() < MAX_IDLE && metrics.age() < MAX_AGE
}

impl Connections {
    /// Creates a pool of up to `max` connections. The most recently used one is used next, so that low load needs few.
    #[expect(clippy::expect_used, reason = "building fails only with timeouts and no runtime, and no timeout is set")]
    pub(super) fn new(dialer: Dialer, max: u32) -> Self {
        let config = PoolConfig { queue_mode: QueueMode::Lifo, ..PoolConfig::new(max as usize) };
        Self { pool: Pool::builder(dialer).config(config).build().expect("a pool without timeouts") }
    }

    /// Returns a connection. Waits for one without a timeout of its own.
    pub(super) async fn lease(&self) -> Result<Lease, sqlx::Error> {
        match self.pool.get().await {
            Ok(object) => Ok(Lease { object: Some(object) }),
            Err(PoolError::Backend(error)) => Err(error),
            Err(_) => Err(sqlx::Error::PoolClosed),
        }
    }

    /// Closes all idle connections.
    pub(super) fn close_idle(&self) {
        let _ = self.pool.retain(|_, _| false);
    }

    /// Closes connections that are too old or were idle for too long.
    pub(super) fn close_stale(&self) {
        let _ = self.pool.retain(|_, metrics| is_fresh(&metrics));
    }

    /// Closes the pool; later requests for a connection fail.
    pub(super) fn close(&self) {
        self.pool.close();
    }
}

impl Lease {
    pub(super) fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.object.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Returns the connection to the pool. Call only after its statement has ended.
    pub(super) fn give_back(mut self) {
        drop(self.object.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.object.take().map(Object::take));
    }
}
